"""What the operating statuses must be once nothing goes wrong any more: by the contract, and by what truly works.

`shared/api/rules.md`, section 7: a member is OFFLINE when disabled or not in the configuration, NO_MONITOR when not
checked, ERROR when nobody reaches it, DRAINING with weight 0, else ONLINE. A pool is OFFLINE when disabled or unused,
ERROR when no member works, DEGRADED when some fail; a load balancer the same, of its pools. What is switched off is
OFFLINE with all it serves.
"""

from collections.abc import Collection, Iterator

from statera.model.enums import OperatingStatus
from statera.model.tree import Member, Pool, Tree

Reached = Collection[str]
"""The places of members that at least one of the amphorae reaches."""


def find_untrue(tree: Tree, reached: Reached) -> str | None:
    """Say which operating status is not what it should be, None when all are."""
    for kind, one, shown, wanted in _list_statuses(tree, reached):
        if shown != wanted:
            return f"shows its {kind} {one} as {shown}, which is {wanted}"
    return None


def _list_statuses(tree: Tree, reached: Reached) -> Iterator[tuple[str, str, OperatingStatus, OperatingStatus]]:
    balancer, pools = tree.load_balancer, []
    for pool in tree.pools:
        served = balancer.admin_state_up and pool.admin_state_up and _is_used(tree, pool)
        checked = any(one.pool_id == pool.id and one.admin_state_up for one in tree.health_monitors)
        judge = _judge_checked if checked else _judge_unchecked
        members = [(one, judge(one, reached, served)) for one in tree.list_members(pool.id)]
        for member, status in members:
            yield "member", member.id, member.operating_status, status
        wanted = _judge_pool([status for _, status in members]) if served else OperatingStatus.OFFLINE
        pools.append(wanted)
        yield "pool", pool.id, pool.operating_status, wanted
    for listener in tree.listeners:
        up = balancer.admin_state_up and listener.admin_state_up
        yield "listener", listener.id, listener.operating_status, _on_or_off(up)
    for monitor in tree.health_monitors:
        yield "monitor", monitor.id, monitor.operating_status, _on_or_off(monitor.admin_state_up)
    worst = next((one for one in (OperatingStatus.ERROR, OperatingStatus.DEGRADED) if one in pools), None)
    status = OperatingStatus.OFFLINE if not balancer.admin_state_up else worst or OperatingStatus.ONLINE
    yield "load balancer", balancer.id, balancer.operating_status, status


def _on_or_off(up: bool) -> OperatingStatus:
    return OperatingStatus.ONLINE if up else OperatingStatus.OFFLINE


def _is_used(tree: Tree, pool: Pool) -> bool:
    return any(one.admin_state_up and one.default_pool_id == pool.id for one in tree.listeners)


def _judge_unchecked(member: Member, _reached: Reached, served: bool) -> OperatingStatus:
    if not member.admin_state_up:
        return OperatingStatus.OFFLINE
    return OperatingStatus.NO_MONITOR if member.weight or not served else OperatingStatus.DRAINING


def _judge_checked(member: Member, reached: Reached, served: bool) -> OperatingStatus:
    if not served or not member.admin_state_up:
        return OperatingStatus.OFFLINE
    if f"{member.address}:{member.protocol_port}" not in reached:
        return OperatingStatus.ERROR
    return OperatingStatus.ONLINE if member.weight else OperatingStatus.DRAINING


def _judge_pool(members: list[OperatingStatus]) -> OperatingStatus:
    if members and not {OperatingStatus.ONLINE, OperatingStatus.NO_MONITOR} & set(members):
        return OperatingStatus.ERROR
    return OperatingStatus.DEGRADED if OperatingStatus.ERROR in members else OperatingStatus.ONLINE
