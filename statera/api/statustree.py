"""The status tree: a load balancer and all below it with both statuses (rules.md section 22)."""

from typing import Any

import msgspec

from statera.api.call import Call, answer_json, not_found
from statera.api.errors import Answer
from statera.api.shown import ReasonShown, show_reason
from statera.model.rules import WORDS
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Resource, Tree
from statera.store.trees import load_tree


class RuleStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Rules have no name."""

    id: str
    operating_status: str
    provisioning_status: str
    status_reason: ReasonShown | None
    type: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What every other object shows. `status_reason` is beyond the v2 API."""

    id: str
    name: str
    operating_status: str
    provisioning_status: str
    status_reason: ReasonShown | None


class L7PolicyStatus(Status, frozen=True, kw_only=True):
    """Beyond the v2 API."""

    action: str
    rules: tuple[RuleStatus, ...]


class MemberStatus(Status, frozen=True, kw_only=True):
    address: str
    protocol_port: int


class HealthMonitorStatus(Status, frozen=True, kw_only=True):
    type: str


class PoolStatus(Status, frozen=True, kw_only=True):
    health_monitor: HealthMonitorStatus | None
    members: tuple[MemberStatus, ...]


class ListenerStatus(Status, frozen=True, kw_only=True):
    pools: tuple[PoolStatus, ...]
    l7policies: tuple[L7PolicyStatus, ...]


class LoadBalancerStatus(Status, frozen=True, kw_only=True):
    listeners: tuple[ListenerStatus, ...]


class StatusTree(msgspec.Struct, frozen=True, kw_only=True):
    loadbalancer: LoadBalancerStatus


async def answer_status(call: Call, load_balancer_id: str, target: str) -> Answer:
    """Return the tree as it stands now, by one statement. Refuses (NOT_FOUND), then (FORBIDDEN)."""
    tree = await load_tree(call.room.store, load_balancer_id)
    if tree is None:
        raise not_found(WORDS[LoadBalancer], load_balancer_id)
    call.allow(target, tree.load_balancer.project_id)
    return answer_json({"statuses": show_statuses(tree)})


def show_statuses(tree: Tree) -> StatusTree:
    """Return what the API shows of a tree."""
    listeners = tuple(_show_listener(tree, listener) for listener in tree.listeners)
    return StatusTree(loadbalancer=LoadBalancerStatus(**_list_named(tree.load_balancer), listeners=listeners))


def _show_listener(tree: Tree, listener: Listener) -> ListenerStatus:
    policies = tree.list_l7policies(listener.id)
    used = [listener.default_pool_id, *(policy.redirect_pool_id for policy in policies if _is_routing(tree, policy))]
    pools = [tree.find_pool(pool_id) for pool_id in dict.fromkeys(used) if pool_id]
    return ListenerStatus(
        **_list_named(listener),
        pools=tuple(_show_pool(tree, pool) for pool in pools if pool is not None),
        l7policies=tuple(_show_l7policy(tree, policy) for policy in policies),
    )


def _is_routing(tree: Tree, policy: L7Policy) -> bool:
    return policy.admin_state_up and not policy.deleting and any(not r.deleting for r in tree.list_l7rules(policy.id))


def _show_l7policy(tree: Tree, policy: L7Policy) -> L7PolicyStatus:
    rules = tuple(_show_l7rule(rule) for rule in tree.list_l7rules(policy.id))
    return L7PolicyStatus(**_list_named(policy), action=policy.action, rules=rules)


def _show_l7rule(rule: L7Rule) -> RuleStatus:
    return RuleStatus(**_list_statuses(rule), type=rule.type)


def _show_pool(tree: Tree, pool: Pool) -> PoolStatus:
    monitor = tree.find_health_monitor(pool.id)
    return PoolStatus(
        **_list_named(pool),
        health_monitor=None if monitor is None else _show_health_monitor(monitor),
        members=tuple(_show_member(member) for member in tree.list_members(pool.id)),
    )


def _show_health_monitor(monitor: HealthMonitor) -> HealthMonitorStatus:
    return HealthMonitorStatus(**_list_named(monitor), type=monitor.type)


def _show_member(member: Member) -> MemberStatus:
    return MemberStatus(**_list_named(member), address=member.address, protocol_port=member.protocol_port)


def _list_named(resource: Resource) -> dict[str, Any]:
    return _list_statuses(resource) | {"name": resource.name}


def _list_statuses(resource: Resource) -> dict[str, Any]:
    return {
        "id": resource.id,
        "operating_status": resource.operating_status,
        "provisioning_status": resource.provisioning_status,
        "status_reason": None if resource.reason is None else show_reason(resource.reason),
    }
