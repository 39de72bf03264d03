"""What leaves a host next."""

import datetime as dt

from statera.base.reason import Reason
from statera.model.amphora import Host
from statera.model.draining import Stay
from statera.model.enums import ProvisioningStatus
from statera.plan.draining import decide_moves

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DRAINED = Host(name="a", reachable=True, draining=True)


def make_stay(number: int, *, asked: bool = False, held_by: str = "", **values: str | bool | None) -> Stay:
    plain: dict[str, str | bool | None] = {
        "load_balancer_id": f"balancer {number}",
        "host": "a",
        "compute_zone": None,
        "deleting": False,
    }
    return Stay(
        amphora_id=f"amphora {number}",
        is_asked=asked,
        provisioning_status=ProvisioningStatus.ACTIVE,
        reason=Reason(slug="host-full", sentence=held_by) if held_by else None,
        **(plain | values),  # type: ignore[arg-type]
    )


def numbers(stays: tuple[Stay, ...]) -> list[str]:
    return [stay.amphora_id.removeprefix("amphora ") for stay in stays]


def test_so_many_at_a_time() -> None:
    hosts = [DRAINED, Host(name="b", reachable=True)]
    stays = [make_stay(1, asked=True), *(make_stay(number) for number in range(2, 6))]
    assert numbers(decide_moves(stays, hosts, {}, at_once=3).start) == ["2", "3"]
    assert numbers(decide_moves(stays, hosts, {}, at_once=1).start) == []


def test_what_is_held_up_does_not_hold_up_others() -> None:
    hosts = [DRAINED, Host(name="b", reachable=True)]
    stays = [make_stay(1, asked=True, held_by="Its certificate is gone."), make_stay(2)]
    assert numbers(decide_moves(stays, hosts, {}, at_once=1).start) == ["2"]


def test_one_amphora_of_a_load_balancer_at_a_time() -> None:
    hosts = [DRAINED, Host(name="b", reachable=True)]
    stays = [make_stay(1), make_stay(2, load_balancer_id="balancer 1")]
    assert numbers(decide_moves(stays, hosts, {}, at_once=9).start) == ["1"]


def test_on_a_host_that_is_gone_nobody_waits_for_its_twin() -> None:
    """It is out of reach for good: the first one's successor could never take over from it."""
    hosts = [DRAINED, Host(name="b", reachable=True), Host(name="c", reachable=True)]
    twins = [make_stay(1, asked=True), make_stay(2, load_balancer_id="balancer 1"), make_stay(3)]
    assert numbers(decide_moves(twins, hosts, {}, at_once=1).start) == []
    assert numbers(decide_moves(twins, hosts, {}, at_once=1, gone={"a"}).start) == ["2"]
    elsewhere = [twins[0], make_stay(2, load_balancer_id="balancer 1", host="c")]
    assert numbers(decide_moves(elsewhere, hosts, {}, at_once=1, gone={"a"}).start) == []


def test_no_more_than_there_is_room_for() -> None:
    hosts = [DRAINED, Host(name="b", reachable=True, amphora_count=8, amphora_limit=10)]
    moves = decide_moves([make_stay(number) for number in range(5)], hosts, {}, at_once=9)
    assert numbers(moves.start) == ["0", "1"]
    assert moves.blocked["a"].sentence == ("No host has room for another amphora: b (10) hold as many as they may.")


def test_nowhere_to_go() -> None:
    moves = decide_moves([make_stay(1)], [DRAINED], {}, at_once=9)
    assert moves.start == ()
    assert moves.blocked["a"].slug == "hosts-draining"


def test_the_zone_is_kept() -> None:
    hosts = [DRAINED, Host(name="b", reachable=True, zone="west")]
    moves = decide_moves([make_stay(1, compute_zone="east"), make_stay(2, compute_zone="west")], hosts, {}, at_once=9)
    assert numbers(moves.start) == ["2"]
    assert moves.blocked["a"].slug == "zone-without-host"


def test_what_is_being_deleted_needs_no_move() -> None:
    hosts = [DRAINED, Host(name="b", reachable=True)]
    assert decide_moves([make_stay(1, deleting=True)], hosts, {}, at_once=9).start == ()
