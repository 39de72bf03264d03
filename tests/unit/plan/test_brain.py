"""What counts as the proof that an amphora is dead, and what does not."""

from typing import Any

import pytest

from statera.base.reason import Reason
from statera.model.amphora import Host
from statera.model.enums import AmphoraStatus
from statera.model.failover import ALWAYS, Budget, Limits, Lookout, Voices
from statera.plan.brain import Hold, Replace, Verdict, judge_amphora, needs_lookout
from statera.plan.plan import decide_plan
from statera.plan.steps import AddAmphora, GiveUpAmphora
from statera.plan.world import World
from tests.unit.plan.test_plan import BUILT, NOW, SILENT, make_row, make_world, names, see

LIMITS = Limits(per_minute=2, fleet_percent=10.0)
LOST = Host(name="one", reachable=False, is_alive=False)
OTHERS = (Host(name="two", reachable=True), Host(name="three", reachable=True))


def budget(*, fleet: int = 100, in_minute: int = 0, in_window: int = 0, is_on: bool = True) -> Budget:
    limits = Limits(is_on=is_on, per_minute=LIMITS.per_minute, fleet_percent=LIMITS.fleet_percent)
    return Budget(limits=limits, fleet=fleet, in_minute=in_minute, in_window=in_window)


def look_out(
    *, silent: bool = True, voices: Voices | None = None, answers: bool | None = False, **spent: Any
) -> Lookout:
    return Lookout(
        silent_since={"amphora": NOW} if silent else {},
        hosts={"one": voices or Voices(serving=3, silent=3)},
        answers={} if answers is None else {"amphora": answers},
        budget=budget(**spent),
    )


def lost_world(*, hosts: tuple[Host, ...] = (LOST, *OTHERS), lookout: Lookout | None = None, **row: Any) -> World:
    """Return a world whose amphora is silent on a host that is gone, with changes."""
    return make_world(make_row(**row), sightings={"amphora": SILENT}, hosts=hosts, lookout=lookout or look_out())


def judge(world: World) -> Verdict:
    return judge_amphora(world, world.amphorae[0])


def test_a_lost_hosts_amphora_is_replaced() -> None:
    verdict = judge(lost_world())
    assert isinstance(verdict, Replace)
    assert verdict.reason == Reason(
        slug="host-lost",
        sentence="Host one is lost: it gives no sign of life, and nothing is heard of its amphorae.",
        since=NOW,
    )


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"lookout": look_out(silent=False)}, None),
        ({"status": AmphoraStatus.PENDING_CREATE}, None),
        ({"status": AmphoraStatus.PENDING_DELETE}, None),
        ({"status": AmphoraStatus.ERROR}, None),
        ({"hosts": (Host(name="one", reachable=False, is_alive=True), *OTHERS)}, "agent-down"),
        ({"hosts": (Host(name="one", reachable=True), *OTHERS)}, "host-answers"),
        ({"hosts": (LOST,)}, "controller-cut-off"),
        ({"hosts": (LOST, Host(name="two", reachable=False), OTHERS[1])}, "controller-cut-off"),
        ({"lookout": look_out(voices=Voices(serving=3, silent=2))}, "host-still-heard"),
        ({"lookout": look_out(answers=None)}, "network-not-asked"),
        ({"lookout": look_out(answers=True)}, "amphora-answers"),
        ({"lookout": look_out(in_minute=2)}, "replacement-budget-spent"),
        ({"lookout": look_out(fleet=200, in_window=20)}, "replacement-budget-spent"),
        ({"lookout": look_out(is_on=False)}, "replacement-budget-spent"),
    ],
)
def test_what_is_no_proof(change: dict[str, Any], slug: str | None) -> None:
    verdict = judge(lost_world(**change))
    assert (verdict.reason.slug if isinstance(verdict, Hold) else verdict) == slug


@pytest.mark.parametrize(
    "change",
    [
        {"hosts": OTHERS},
        {"hosts": (LOST, OTHERS[0])},
        {"lookout": look_out(fleet=200, in_window=19)},
        {"lookout": look_out(fleet=3, in_window=ALWAYS - 1)},
    ],
    ids=["taken out of the configuration", "one of two", "the last of the share", "a small fleet"],
)
def test_what_is_proof(change: dict[str, Any]) -> None:
    assert isinstance(judge(lost_world(**change)), Replace)


def test_nothing_is_decided_without_a_lookout() -> None:
    world = make_world(make_row(), sightings={"amphora": SILENT}, hosts=(LOST, *OTHERS))
    assert needs_lookout(world)
    assert judge(world) is None


@pytest.mark.parametrize(
    ("broken_s", "failing_s", "is_given_up"),
    [(0.0, 60.0, False), (60.0, 0.0, False), (9.0, 9.0, False), (11, 11, True)],
)
def test_what_its_host_cannot_mend_is_replaced(broken_s: float, failing_s: float, is_given_up: bool) -> None:
    row = make_row()
    why = Reason(slug="engine-not-started", sentence="HAProxy does not start: no memory.")
    seen = see(row, haproxy_running=False, broken_s=broken_s, reason=why)
    world = make_world(row, sightings={row.id: seen}, failing_s=failing_s, lookout=look_out(silent=False))
    verdict = judge(world)
    assert isinstance(verdict, Replace) == is_given_up == needs_lookout(world)
    if isinstance(verdict, Replace):
        assert verdict.reason.slug == "amphora-broken"
        assert verdict.reason.sentence.endswith("cannot make amphora amphora serve again: " + why.sentence)


def test_a_replacement_is_made_elsewhere_at_once() -> None:
    plan = decide_plan(lost_world())
    assert names(plan) == ["GiveUpAmphora", "AddAmphora", *BUILT, "CondemnAmphora", "Settle"]
    give_up, add = plan.steps[:2]
    assert isinstance(give_up, GiveUpAmphora)
    assert give_up.reason.slug == "host-lost"
    assert isinstance(add, AddAmphora)
    assert add.amphora.host != "one"


def test_a_replacement_that_was_cut_off_goes_on_without_asking_the_budget_again() -> None:
    given_up = make_row(status=AmphoraStatus.ERROR, updated_at=NOW)
    fresh = make_row("fresh", host="two", status=AmphoraStatus.PENDING_CREATE, ports=())
    sightings = {given_up.id: SILENT, fresh.id: None}
    plan = decide_plan(make_world(given_up, fresh, sightings=sightings))
    assert names(plan) == [*BUILT, "CondemnAmphora", "Settle"]


def test_what_is_heard_again_keeps_the_vip_until_its_host_answers() -> None:
    heard = make_row(status=AmphoraStatus.ERROR, updated_at=NOW, last_heartbeat_at=NOW.replace(minute=1))
    fresh = make_row("fresh", host="two", status=AmphoraStatus.PENDING_CREATE, ports=())
    plan = decide_plan(make_world(heard, fresh, sightings={heard.id: SILENT, fresh.id: None}))
    assert names(plan) == [*BUILT[:3], "Wait"]


def test_no_room_elsewhere_costs_no_budget() -> None:
    full = tuple(Host(name=host.name, reachable=True, amphora_count=1, amphora_limit=1) for host in OTHERS)
    plan = decide_plan(lost_world(hosts=(LOST, *full)))
    assert names(plan) == ["Wait"]
    assert "hold as many as they may" in plan.sentence()


def test_the_reason_of_waiting_is_the_brains() -> None:
    plan = decide_plan(lost_world(hosts=(LOST,)))
    assert names(plan) == ["Wait"]
    assert "1 of 1 hosts do not answer this controller" in plan.sentence()
