"""What must be shown follows from what runs, and is told where something else is shown."""

from typing import Any

import msgspec
import pytest

from tests.chaos.statuses import Shown, compare_statuses

LIVING, DEAD = "10.0.0.1", "10.0.0.2"


def _show(name: str, status: str, **more: Any) -> Any:
    return {"id": name, "name": name, "operating_status": status, "admin_state_up": True} | more


def _member(name: str, status: str, address: str = LIVING, weight: int = 1, **more: Any) -> Any:
    return _show(name, status, address=address, weight=weight, **more)


def _balance(pool: str, balancer: str, members: list[Any], *, has_monitor: bool = True) -> Shown:
    """Return a load balancer with one pool that an enabled listener uses."""
    monitors = [_show("monitor", "ONLINE")] if has_monitor else []
    ids = {"healthmonitor_id": "monitor"} if has_monitor else {}
    return Shown(
        balancers=[_show("balancer", balancer, pools=[{"id": "pool"}])],
        listeners=[_show("listener", "ONLINE", default_pool_id="pool")],
        pools=[_show("pool", pool, **ids)],
        monitors=monitors,
        members={"pool": members},
    )


WELL = _member("well", "ONLINE")
ILL = _member("ill", "ERROR", DEAD)
RESTING = [
    _member("disabled", "OFFLINE", DEAD, admin_state_up=False),
    _member("draining", "DRAINING", weight=0),
]


@pytest.mark.parametrize(
    "shown",
    [
        _balance("ONLINE", "ONLINE", []),
        _balance("ONLINE", "ONLINE", [WELL, *RESTING]),
        _balance("DEGRADED", "DEGRADED", [WELL, ILL, *RESTING]),
        _balance("ERROR", "ERROR", [ILL, *RESTING]),
        _balance("ONLINE", "ONLINE", [_member("unasked", "NO_MONITOR", DEAD)], has_monitor=False),
    ],
)
def test_what_is_true_is_not_told(shown: Shown) -> None:
    assert compare_statuses(shown, {DEAD}) == []


def test_what_a_disabled_listener_has_is_offline() -> None:
    shown = _balance("OFFLINE", "ONLINE", [_member("well", "OFFLINE"), _member("ill", "OFFLINE", DEAD)])
    off = _show("listener", "OFFLINE", default_pool_id="pool", admin_state_up=False)
    assert compare_statuses(msgspec.structs.replace(shown, listeners=[off]), {DEAD}) == []


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (_balance("ONLINE", "ONLINE", [_member("ill", "ONLINE", DEAD), WELL]), ["balancer", "pool", "ill"]),
        (_balance("ONLINE", "ERROR", [WELL]), ["balancer"]),
        (_balance("DEGRADED", "DEGRADED", [WELL]), ["balancer", "pool"]),
        (_balance("ONLINE", "ONLINE", [_member("well", "ERROR")]), ["well"]),
        (_balance("ONLINE", "ONLINE", [_member("well", "NO_MONITOR")]), ["well"]),
    ],
)
def test_what_is_untrue_is_told_by_name(shown: Shown, told: list[str]) -> None:
    assert [one.partition(" (")[2].partition(")")[0] for one in compare_statuses(shown, {DEAD})] == told


def test_what_should_be_shown_is_said() -> None:
    (told,) = compare_statuses(_balance("ONLINE", "ERROR", [WELL]), {DEAD})
    assert told == "load balancer balancer (balancer) is ERROR, not ONLINE"
