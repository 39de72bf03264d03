"""The object that a path or a body names: there, and the caller's to use. Existence comes before policy."""

from typing import TypeVar, cast

from statera.api.call import Call, not_found
from statera.api.errors import ParentMissing
from statera.api.places import Place
from statera.model.rules import WORDS
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Resource
from statera.model.views import (
    HealthMonitorView,
    L7PolicyView,
    L7RuleView,
    ListenerView,
    LoadBalancerView,
    MemberView,
    PoolView,
    View,
)
from statera.store.views import load_view

V = TypeVar("V", LoadBalancerView, ListenerView, PoolView, MemberView, HealthMonitorView, L7PolicyView, L7RuleView)

_KIND_OF: dict[type[View], type[Resource]] = {
    LoadBalancerView: LoadBalancer,
    ListenerView: Listener,
    PoolView: Pool,
    MemberView: Member,
    HealthMonitorView: HealthMonitor,
    L7PolicyView: L7Policy,
    L7RuleView: L7Rule,
}


async def load(call: Call, view: type[V], object_id: str, target: str) -> V:
    """Return an object to show it. Refuses (NOT_FOUND), then (FORBIDDEN)."""
    return cast(V, await load_any(call, _KIND_OF[view], object_id, target))


async def load_any(call: Call, kind: type[Resource], object_id: str, target: str) -> View:
    """Return an object of whatever kind, likewise."""
    found = await load_view(call.room.store, kind, object_id)
    if found is None:
        raise not_found(WORDS[kind], object_id)
    call.allow(target, found.resource.project_id)
    return found


async def find(call: Call, kind: type[Resource], object_id: str, target: str) -> Place:
    """Return where the object of an edit belongs. Refuses (NOT_FOUND), then (FORBIDDEN)."""
    place = await call.find_place(kind, object_id)
    if place is None:
        raise not_found(WORDS[kind], object_id)
    call.allow(target, place.project_id)
    return place


async def find_parent_pool(call: Call, target: str) -> Place:
    """Return the pool in the middle of a path, whose absence the contract words in its own way."""
    return await _find_parent(call, Pool, "Pool", call.path["pool_id"], target)


async def find_parent_l7policy(call: Call, target: str) -> Place:
    """Return the policy in the middle of a path; likewise."""
    return await _find_parent(call, L7Policy, "L7Policy", call.path["l7policy_id"], target)


async def _find_parent(call: Call, kind: type[Resource], word: str, object_id: str, target: str) -> Place:
    place = await call.find_place(kind, object_id)
    if place is None:
        raise ParentMissing(f"{word} {object_id} not found.")
    call.allow(target, place.project_id)
    return place
