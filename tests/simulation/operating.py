"""What the operating statuses must be once nothing goes wrong any more: by the contract, and by what truly works.

What is switched off is OFFLINE with all it serves.
"""

from collections.abc import Collection, Iterator

from statera.model.enums import OperatingStatus
from statera.model.tree import Pool, Tree
from tests.fixtures.operating import judge_balancer, judge_member, judge_pool, judge_switch

Reached = Collection[str]
"""The places of members that at least one of the amphorae reaches."""


def find_untrue(tree: Tree, reached: Reached, expired: Collection[str]) -> str | None:
    """Say which operating status is not what it should be, None when all are.

    `expired`: the listeners that show a certificate whose time is over.
    """
    for kind, one, shown, wanted in _list_statuses(tree, reached, expired):
        if shown != wanted:
            return f"shows its {kind} {one} as {shown}, which is {wanted}"
    return None


def _list_statuses(
    tree: Tree, reached: Reached, expired: Collection[str]
) -> Iterator[tuple[str, str, OperatingStatus, OperatingStatus]]:
    balancer, pools, listeners = tree.load_balancer, [], []
    for pool in tree.pools:
        served = balancer.admin_state_up and pool.admin_state_up and _is_used(tree, pool)
        checked = any(one.pool_id == pool.id and one.admin_state_up for one in tree.health_monitors)
        members = []
        for one in tree.list_members(pool.id):
            works = f"{one.address}:{one.protocol_port}" in reached
            status = judge_member(
                up=one.admin_state_up, weight=one.weight, is_checked=checked, is_served=served, works=works
            )
            members.append(status)
            yield "member", one.id, one.operating_status, status
        pools.append(judge_pool(members, is_served=served))
        yield "pool", pool.id, pool.operating_status, pools[-1]
    for listener in tree.listeners:
        up = balancer.admin_state_up and listener.admin_state_up
        is_expired = up and listener.id in expired
        listeners.append(OperatingStatus.DEGRADED if is_expired else judge_switch(up=up))
        yield "listener", listener.id, listener.operating_status, listeners[-1]
    for monitor in tree.health_monitors:
        yield "monitor", monitor.id, monitor.operating_status, judge_switch(up=monitor.admin_state_up)
    status = judge_balancer([*pools, *listeners], up=balancer.admin_state_up)
    yield "load balancer", balancer.id, balancer.operating_status, status


def _is_used(tree: Tree, pool: Pool) -> bool:
    return any(one.admin_state_up and one.default_pool_id == pool.id for one in tree.listeners)
