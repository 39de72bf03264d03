"""Failed requests have the fault as their cause that struck their own amphora, and a most time that they may last."""

from bench.watch import Outage
from tests.chaos.causes import BUSY_S, RECOVERY_S, Blow, explain_outages
from tests.chaos.story import Fault

ONE, OTHER = "10.0.0.1", "10.0.0.2"


def _strike(kind: str, target: str, begins_s: float, lasts_s: float, *vips: str) -> Blow:
    fault = Fault(kind=kind, target=target, begins_s=begins_s, lasts_s=lasts_s)
    return Blow(fault=fault, began_s=begins_s, ended_s=fault.ends_s, vips=frozenset(vips))


def _fail(vip: str, began_s: float, ended_s: float, failed: int = 3) -> Outage:
    return Outage(vip=vip, began_s=began_s, ended_s=ended_s, failed=failed, how="TimeoutError")


CUT = _strike("cut-provider", "a", 10.0, 2.0, ONE)


def test_an_outage_during_a_fault_of_its_host_is_explained_and_its_requests_are_counted() -> None:
    told = explain_outages([CUT], [_fail(ONE, 9.9, 12.4, 4), _fail(ONE, 13.0, 13.2, 1)], ())
    assert told.wrong == []
    assert told.causes == {"cut-provider": 5}


def test_an_outage_long_before_or_after_any_fault_has_no_cause() -> None:
    early, late = _fail(ONE, 8.0, 8.1, 1), _fail(ONE, 12.1 + RECOVERY_S, 18.0, 2)
    told = explain_outages([CUT], [early, late], ())
    assert told.causes == {"unexplained": 3}
    assert told.wrong == [f"outage without a cause: {one}" for one in (early, late)]


def test_a_fault_of_one_host_does_not_explain_an_outage_on_the_other_one() -> None:
    told = explain_outages([CUT], [_fail(OTHER, 10.5, 11.0)], ())
    assert told.causes == {"unexplained": 3}
    assert len(told.wrong) == 1


def test_a_fault_that_stops_no_traffic_explains_nothing() -> None:
    kinds = ("kill", "pause", "slow", "disk-full", "cut-management")
    told = explain_outages([_strike(kind, "agent-a", 10.0, 2.0, ONE) for kind in kinds], [_fail(ONE, 10.5, 10.6)], ())
    assert told.causes == {"unexplained": 3}


def test_an_outage_that_lasts_too_long_after_its_fault_is_told() -> None:
    over_s = 12.0 + RECOVERY_S + BUSY_S
    assert explain_outages([CUT], [_fail(ONE, 10.0, over_s - 0.1)], ()).wrong == []
    (wrong,) = explain_outages([CUT], [_fail(ONE, 10.0, over_s + 0.1)], ()).wrong
    assert wrong.startswith("outage of 12.1 s, at most 12.0 s after 10.00 s  cut-provider a")


def test_who_mends_may_be_hurt_meanwhile_but_not_once_all_should_be_mended() -> None:
    killed, paused = _strike("engine-kill", "a", 10.0, 0.0, ONE), _strike("pause", "agent-a", 10.2, 4.0, ONE)
    late = _strike("pause", "agent-a", 14.3 + RECOVERY_S, 4.0, ONE)
    over_s = 14.2 + RECOVERY_S + BUSY_S
    blows = [killed, paused, late]
    assert explain_outages(blows, [_fail(ONE, 10.0, over_s - 0.1)], ()).wrong == []
    assert len(explain_outages(blows, [_fail(ONE, 10.0, over_s + 0.1)], ()).wrong) == 1
    assert len(explain_outages([killed], [_fail(ONE, 10.0, over_s - 0.1)], ()).wrong) == 1


def test_a_pair_does_not_wait_for_the_end_of_the_fault() -> None:
    power = _strike("power", "a", 10.0, 3.0, ONE)
    outage = _fail(ONE, 10.0, 10.1 + RECOVERY_S)
    assert explain_outages([power], [outage], ()).wrong == []
    assert len(explain_outages([power], [outage], {ONE}).wrong) == 1
    # Not while its other host is not back yet.
    assert explain_outages([_strike("cut-both", "b", 6.0, 1.0, ONE), power], [outage], {ONE}).wrong == []


def test_what_comes_back_beside_its_successor_may_cost_a_moment_later_on() -> None:
    power = _strike("power", "a", 10.0, 2.0, ONE)
    moment, long = _fail(ONE, 30.0, 30.5), _fail(ONE, 30.0, 31.5)
    assert explain_outages([power], [moment], ()).causes == {"power": 3}
    for blows, outage, pairs in (([power], long, ()), ([power], moment, {ONE}), ([CUT], moment, ())):
        assert explain_outages(blows, [outage], pairs).causes == {"unexplained": 3}
    assert explain_outages([power], [_fail(OTHER, 30.0, 30.5)], ()).causes == {"unexplained": 3}


def test_a_pair_does_not_wait_for_a_keepalived_that_stands_still_but_two_of_them_may_cost_more() -> None:
    paused = _strike("vrrp-pause", "a", 10.0, 10.0, ONE)
    outage = _fail(ONE, 10.0, 10.1 + RECOVERY_S)
    assert len(explain_outages([paused], [outage], {ONE}).wrong) == 1
    power = _strike("power", "b", 11.0, 3.0, ONE)
    told = explain_outages([paused, power], [_fail(ONE, 11.0, 20.0)], {ONE})
    assert (told.wrong, told.causes) == ([], {"power": 3})


def test_the_nearest_of_several_faults_is_the_cause() -> None:
    later = _strike("engine-kill", "a", 14.0, 0.0, ONE)
    told = explain_outages([CUT, later], [_fail(ONE, 12.5, 12.6, 1), _fail(ONE, 14.1, 14.2, 2)], ())
    assert told.causes == {"cut-provider": 1, "engine-kill": 2}
