"""The object that a path or a body names: there, and the caller's to use. Existence comes before policy."""

from typing import TypeVar, cast

from statera.api.call import Call, not_found
from statera.api.errors import ParentMissing
from statera.api.places import Place
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
    """Return an object to show it. Refuses (NOT_FOUND), then (FORBIDDEN)."""
    kind = _KIND_OF[view]
    found = await load_view(call.room.store, kind, object_id)
    if found is None:
        raise not_found(WORDS[kind], object_id)
    call.allow(target, found.resource.project_id)
    return cast(V, found)


async def find(call: Call, kind: type[Resource], object_id: str, target: str) -> Place:
    """Return where the object of an edit belongs. Refuses (NOT_FOUND), then (FORBIDDEN)."""
    place = await call.find_place(kind, object_id)
    if place is None:
        raise not_found(WORDS[kind], object_id)
    call.allow(target, place.project_id)
    return place


async def find_parent_pool(call: Call, target: str) -> Place:
    """Return the pool in the middle of a path, whose absence the contract words in its own way."""
    place = await call.find_place(Pool, call.path["pool_id"])
    if place is None:
        raise ParentMissing(f"Pool {call.path['pool_id']} not found.")
    call.allow(target, place.project_id)
    return place
