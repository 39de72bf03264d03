"""The status tree: a load balancer and all below it with both statuses (rules.md section 22)."""

from typing import Any

from statera.api.call import Call, answer_json, not_found
from statera.api.errors import Answer
from statera.api.shown import show_reason
from statera.model.tree import L7Policy, Listener, LoadBalancer, Pool, Resource, Tree
from statera.store.trees import load_tree


async def answer_status(call: Call, balancer: LoadBalancer) -> Answer:
    """Return the tree as it stands now."""
    tree = await load_tree(call.room.store, balancer.id)
    if tree is None:
        raise not_found("Load Balancer", balancer.id)
    return answer_json({"statuses": {"loadbalancer": show_statuses(tree)}})


def show_statuses(tree: Tree) -> dict[str, Any]:
    """Return the tree below `loadbalancer`. `status_reason` and `l7policies` are beyond the v2 API."""
    listeners = [_show_listener(tree, listener) for listener in tree.listeners]
    return _show(tree.load_balancer) | {"listeners": listeners}


def _show_listener(tree: Tree, listener: Listener) -> dict[str, Any]:
    policies = tree.list_l7policies(listener.id)
    used = [listener.default_pool_id, *(policy.redirect_pool_id for policy in policies if _is_routing(tree, policy))]
    pools = [tree.find_pool(pool_id) for pool_id in dict.fromkeys(used) if pool_id]
    return _show(listener) | {
        "pools": [_show_pool(tree, pool) for pool in pools if pool is not None],
        "l7policies": [_show_l7policy(tree, policy) for policy in policies],
    }


def _is_routing(tree: Tree, policy: L7Policy) -> bool:
    return policy.admin_state_up and not policy.deleting and any(not r.deleting for r in tree.list_l7rules(policy.id))


def _show_l7policy(tree: Tree, policy: L7Policy) -> dict[str, Any]:
    rules = [
        {name: value for name, value in _show(rule).items() if name != "name"} | {"type": rule.type}
        for rule in tree.list_l7rules(policy.id)
    ]
    return _show(policy) | {"action": policy.action, "rules": rules}


def _show_pool(tree: Tree, pool: Pool) -> dict[str, Any]:
    monitor = tree.find_health_monitor(pool.id)
    return _show(pool) | {
        "health_monitor": None if monitor is None else _show(monitor) | {"type": monitor.type},
        "members": [
            _show(member) | {"address": member.address, "protocol_port": member.protocol_port}
            for member in tree.list_members(pool.id)
        ],
    }


def _show(resource: Resource) -> dict[str, Any]:
    return {
        "id": resource.id,
        "name": resource.name,
        "operating_status": resource.operating_status,
        "provisioning_status": resource.provisioning_status,
        "status_reason": None if resource.reason is None else show_reason(resource.reason),
    }
