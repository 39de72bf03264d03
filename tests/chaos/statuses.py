"""Which operating statuses are true, by what runs and by the API's own rules, beside those that the API shows.

The rules are those of the contract (rules.md section 7). Entry: `list_untrue`.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from tests.hosts.ground import Ground

WORKING = ("ONLINE", "NO_MONITOR")


class Shown(msgspec.Struct, kw_only=True):
    """What the API lists; members by their pool."""

    balancers: list[Any]
    listeners: list[Any]
    pools: list[Any]
    monitors: list[Any]
    members: dict[str, list[Any]]


def list_untrue(ground: Ground) -> list[str]:
    """Return which statuses are not as they must be, in words, by which web servers run. Raises as the API does."""
    dead = {server.address for server in ground.servers if server.process is None}
    return compare_statuses(fetch_shown(ground), dead)


def fetch_shown(ground: Ground) -> Shown:
    pools = ground.request("GET", "/v2/lbaas/pools")["pools"]
    return Shown(
        balancers=ground.request("GET", "/v2/lbaas/loadbalancers")["loadbalancers"],
        listeners=ground.request("GET", "/v2/lbaas/listeners")["listeners"],
        pools=pools,
        monitors=ground.request("GET", "/v2/lbaas/healthmonitors")["healthmonitors"],
        members={one["id"]: ground.request("GET", f"/v2/lbaas/pools/{one['id']}/members")["members"] for one in pools},
    )


def compare_statuses(shown: Shown, dead: Collection[str]) -> list[str]:
    """Return what shows another status than it must where nothing answers at these members' addresses. Pure."""
    true = _tell_true(shown, dead)
    listed = {
        "load balancer": shown.balancers,
        "listener": shown.listeners,
        "pool": shown.pools,
        "health monitor": shown.monitors,
        "member": [member for members in shown.members.values() for member in members],
    }
    return [
        f"{kind} {one['id']} ({one['name']}) is {one['operating_status']}, not {true[one['id']]}"
        for kind, objects in listed.items()
        for one in objects
        if one["operating_status"] != true[one["id"]]
    ]


def _tell_true(shown: Shown, dead: Collection[str]) -> dict[str, str]:
    """Return the status of each object by its id."""
    used = {one["default_pool_id"] for one in shown.listeners if one["admin_state_up"]}
    true = {one["id"]: _tell_enabled(one) for one in (*shown.listeners, *shown.monitors)}
    for pool in shown.pools:
        members = shown.members[pool["id"]]
        is_used = pool["admin_state_up"] and pool["id"] in used
        true |= {one["id"]: _tell_member(one, pool, dead, is_used=is_used) for one in members}
        true[pool["id"]] = _tell_pool([true[one["id"]] for one in members], is_used=is_used)
    for one in shown.balancers:
        true[one["id"]] = _tell_balancer([true[pool["id"]] for pool in one["pools"]])
    return true


def _tell_enabled(one: Any) -> str:
    return "ONLINE" if one["admin_state_up"] else "OFFLINE"


def _tell_member(member: Any, pool: Any, dead: Collection[str], *, is_used: bool) -> str:
    if not member["admin_state_up"]:
        return "OFFLINE"
    if "healthmonitor_id" not in pool:
        return "NO_MONITOR"
    if not is_used:
        return "OFFLINE"
    if member["address"] in dead:
        return "ERROR"
    return "ONLINE" if member["weight"] else "DRAINING"


def _tell_pool(members: Sequence[str], *, is_used: bool) -> str:
    if not is_used:
        return "OFFLINE"
    if members and not any(status in WORKING for status in members):
        return "ERROR"
    return "DEGRADED" if "ERROR" in members else "ONLINE"


def _tell_balancer(pools: Sequence[str]) -> str:
    return next((status for status in ("ERROR", "DEGRADED") if status in pools), "ONLINE")
