"""The status tree: a load balancer and all below it with both statuses (rules.md section 22)."""

from typing import Any

from statera.api.call import Call, answer_json, not_found
from statera.api.errors import Answer
from statera.api.shown import show_reason
from statera.model.tree import Listener, LoadBalancer, Pool, Resource, Tree
from statera.store.trees import load_tree


async def answer_status(call: Call, balancer: LoadBalancer) -> Answer:
    """Return the tree as it stands now."""
    tree = await load_tree(call.room.store, balancer.id)
    if tree is None:
        raise not_found("Load Balancer", balancer.id)
    return answer_json({"statuses": {"loadbalancer": show_statuses(tree)}})


def show_statuses(tree: Tree) -> dict[str, Any]:
    """Return the tree below `loadbalancer`. `status_reason` is beyond the v2 API."""
    listeners = [_show_listener(tree, listener) for listener in tree.listeners]
    return _show(tree.load_balancer) | {"listeners": listeners}


def _show_listener(tree: Tree, listener: Listener) -> dict[str, Any]:
    pool = tree.find_pool(listener.default_pool_id) if listener.default_pool_id else None
    return _show(listener) | {"pools": [] if pool is None else [_show_pool(tree, pool)]}


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
