"""The object that a path or a body names: there, and the caller's to use. Existence comes before policy."""

from typing import TypeVar, cast

from statera.api.call import Call, not_found
from statera.api.errors import ParentMissing
from statera.model.rules import WORDS
from statera.model.tree import HealthMonitor, Listener, LoadBalancer, Member, Pool, Resource
from statera.model.views import HealthMonitorView, ListenerView, LoadBalancerView, MemberView, PoolView, View
from statera.store.views import load_view

V = TypeVar("V", LoadBalancerView, ListenerView, PoolView, MemberView, HealthMonitorView)

_KIND_OF: dict[type[View], type[Resource]] = {
    LoadBalancerView: LoadBalancer,
    ListenerView: Listener,
    PoolView: Pool,
    MemberView: Member,
    HealthMonitorView: HealthMonitor,
}


async def load(call: Call, view: type[V], object_id: str, target: str) -> V:
    """Return an object. Refuses (NOT_FOUND), then (FORBIDDEN)."""
    kind = _KIND_OF[view]
    found = await load_view(call.room.store, kind, object_id)
    if found is None:
        raise not_found(WORDS[kind], object_id)
    call.allow(target, found.resource.project_id)
    return cast(V, found)


async def load_parent_pool(call: Call, target: str) -> Pool:
    """Return the pool in the middle of a path, whose absence the contract words in its own way."""
    pool_id = call.path["pool_id"]
    found = await load_view(call.room.store, Pool, pool_id)
    if not isinstance(found, PoolView):
        raise ParentMissing(f"Pool {pool_id} not found.")
    call.allow(target, found.resource.project_id)
    return found.resource
