"""Which operating statuses are true, by what runs and by the contract, beside those that the API shows.

Entry: `list_untrue`.
"""

from collections.abc import Collection
from typing import Any

import msgspec

from statera.model.enums import OperatingStatus
from tests.fixtures.operating import judge_balancer, judge_member, judge_pool, judge_switch
from tests.hosts.ground import Ground


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


def _tell_true(shown: Shown, dead: Collection[str]) -> dict[str, OperatingStatus]:
    """Return the status of each object by its id."""
    used = {one["default_pool_id"] for one in shown.listeners if one["admin_state_up"]}
    true = {one["id"]: judge_switch(up=one["admin_state_up"]) for one in (*shown.listeners, *shown.monitors)}
    for pool in shown.pools:
        members = shown.members[pool["id"]]
        is_served = pool["admin_state_up"] and pool["id"] in used
        true |= {one["id"]: _tell_member(one, pool, dead, is_served=is_served) for one in members}
        true[pool["id"]] = judge_pool([true[one["id"]] for one in members], is_served=is_served)
    for one in shown.balancers:
        true[one["id"]] = judge_balancer([true[pool["id"]] for pool in one["pools"]], up=one["admin_state_up"])
    return true


def _tell_member(member: Any, pool: Any, dead: Collection[str], *, is_served: bool) -> OperatingStatus:
    return judge_member(
        up=member["admin_state_up"],
        weight=member["weight"],
        is_checked="healthmonitor_id" in pool,
        is_served=is_served,
        works=member["address"] not in dead,
    )
