"""A load balancer created in one call with all below it (rules.md section 11): wire structs, growth and answer.

Pools are defined where they are used or at the top, and referenced by name. The tree is grown by the same decisions as
later edits, so every rule holds here too; any refusal leaves nothing.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from msgspec import UNSET, UnsetType

from statera.api.call import Call
from statera.api.fields import Choice, Several
from statera.api.healthmonitors import NewHealthMonitor, build_health_monitor, show_health_monitor
from statera.api.l7policies import L7PolicyShown, NewL7Policy, list_policy_edits, show_l7policy
from statera.api.l7rules import show_l7rule
from statera.api.listeners import ListenerShown, NewListener, build_listener, show_listener
from statera.api.members import NewMember, build_member, change_matched_member, show_member
from statera.api.places import place_of
from statera.api.pools import PoolShown, PoolUpdate, build_pool, list_pool
from statera.api.shown import list_ids
from statera.api.tls import check_listener_secrets, check_pool_secrets
from statera.api.wire import Nested
from statera.base.errors import Refusal, Refused
from statera.base.settings import ApiSettings
from statera.model.edits import (
    Decide,
    MemberWish,
    Terms,
    create_health_monitor,
    create_listener,
    create_pool,
    plant_tree,
    set_members,
)
from statera.model.enums import PoolProtocol
from statera.model.tree import L7Policy, Listener, LoadBalancer, Pool, Tree
from statera.model.views import HealthMonitorView, L7PolicyView, L7RuleView, ListenerView, MemberView


class PoolInTree(PoolUpdate, frozen=True, kw_only=True):
    """A definition, or a reference that has nothing but the name."""

    protocol: Annotated[PoolProtocol | UnsetType | None, Choice(PoolProtocol)] = UNSET
    members: Annotated[tuple[NewMember, ...] | UnsetType | None, Several(Nested(NewMember))] = UNSET
    healthmonitor: Annotated[NewHealthMonitor | UnsetType | None, Nested(NewHealthMonitor)] = UNSET


class L7PolicyInTree(NewL7Policy, frozen=True, kw_only=True):
    redirect_pool: Annotated[PoolInTree | UnsetType | None, Nested(PoolInTree)] = UNSET


class ListenerInTree(NewListener, frozen=True, kw_only=True):
    l7policies: Annotated[tuple[L7PolicyInTree, ...] | UnsetType | None, Several(Nested(L7PolicyInTree))] = UNSET
    default_pool: Annotated[PoolInTree | UnsetType | None, Nested(PoolInTree)] = UNSET


def grow_tree(
    balancer: LoadBalancer,
    listeners: Sequence[ListenerInTree],
    pools: Sequence[PoolInTree],
    settings: ApiSettings,
    now: dt.datetime,
) -> Tree:
    """Return the whole new tree. Raises `Refused`."""
    definitions = _collect_definitions(listeners, pools)
    owner, clock = place_of(balancer), _tick(now)
    terms = Terms(now=now)
    decisions: list[Decide] = []
    by_name: dict[str, Pool] = {}
    for wire in definitions:
        pool = build_pool(wire, _read_protocol(wire), owner, settings, created_at=next(clock))
        if pool.name:
            by_name[pool.name] = pool
        decisions.append(create_pool(pool, None, terms))
        decisions += _list_pool_decisions(wire, pool, settings, clock, terms)
    for given in listeners:
        more: dict[str, Any] = {"created_at": next(clock)}
        if isinstance(given.default_pool, PoolInTree):
            more["default_pool_id"] = by_name[str(given.default_pool.name)].id
        listener = build_listener(given, owner, settings, **more)
        policies = given.l7policies or ()
        redirects = [_find_redirect(policy, by_name) for policy in policies]
        decisions += [create_listener(listener, terms), *list_policy_edits(policies, listener, now, redirects)]
    return plant_tree(balancer, decisions)


async def check_tree_secrets(call: Call, listeners: Sequence[ListenerInTree], pools: Sequence[PoolInTree]) -> None:
    """Fetch and read what the references of a whole tree lead to. Raises `Refused`."""
    for listener in listeners:
        await check_listener_secrets(call, listener)
    for pool in (*pools, *_list_used_pools(listeners)):
        await check_pool_secrets(call, pool)


def _find_redirect(policy: L7PolicyInTree, by_name: Mapping[str, Pool]) -> str | None:
    return by_name[str(policy.redirect_pool.name)].id if isinstance(policy.redirect_pool, PoolInTree) else None


def _tick(now: dt.datetime) -> Iterator[dt.datetime]:
    # Microseconds apart, so that lists keep the order of the request.
    while True:
        now += dt.timedelta(microseconds=1)
        yield now


def _list_pool_decisions(
    wire: PoolInTree, pool: Pool, settings: ApiSettings, clock: Iterator[dt.datetime], terms: Terms
) -> Iterator[Decide]:
    if isinstance(wire.healthmonitor, NewHealthMonitor):
        monitor = build_health_monitor(wire.healthmonitor, place_of(pool), settings, created_at=next(clock))
        yield create_health_monitor(monitor, terms)
    build = partial(build_member, pool=place_of(pool), reserved=settings.reserved_addresses)
    wishes = [
        MemberWish(fresh=build(member, created_at=next(clock)), change=change_matched_member(member))
        for member in wire.members or ()
    ]
    yield set_members(pool.id, wishes, additive_only=True, terms=terms)


def _collect_definitions(listeners: Sequence[ListenerInTree], pools: Sequence[PoolInTree]) -> list[PoolInTree]:
    definitions = list(pools)
    references: list[str] = []
    for used in _list_used_pools(listeners):
        if not used.name:
            raise _invalid("Pools must be named when creating a fully populated loadbalancer.")
        references.append(str(used.name))
        if not _is_reference(used):
            definitions.append(used)
    names = [str(pool.name) for pool in definitions if pool.name]
    if len(set(names)) < len(names):
        raise _invalid("Pool names must be unique when creating a fully populated loadbalancer.")
    for name in references:
        if name not in names:
            raise _invalid(f"Pool '{name}' was referenced but no full definition was found.")
    return definitions


def _list_used_pools(listeners: Sequence[ListenerInTree]) -> Iterator[PoolInTree]:
    for listener in listeners:
        for used in (listener.default_pool, *(policy.redirect_pool for policy in listener.l7policies or ())):
            if isinstance(used, PoolInTree):
                yield used


_FLAGS = frozenset({"id", "name", "admin_state_up", "tls_enabled"})


def _is_reference(pool: PoolInTree) -> bool:
    given = [name for name in pool.__struct_fields__ if getattr(pool, name) is not UNSET]
    return _FLAGS.issuperset(given)


def _read_protocol(pool: PoolInTree) -> PoolProtocol:
    for attribute in ("protocol", "lb_algorithm"):
        if not getattr(pool, attribute):
            name = pool.name or ""
            raise _invalid(f"Pool definition for '{name}' missing required attribute: {attribute}")
    return PoolProtocol(str(pool.protocol))


def _invalid(detail: str) -> Refused:
    return Refused(Refusal.INVALID, f"Validation failure: {detail}")


def show_children(tree: Tree) -> dict[str, Any]:
    """Return listeners and pools of a new load balancer, each with all below it."""
    listeners = [_show_listener(tree, listener) for listener in tree.listeners]
    return {"listeners": listeners, "pools": [_show_pool(tree, pool) for pool in tree.pools]}


def _show_listener(tree: Tree, listener: Listener) -> ListenerShown:
    policies = [_show_l7policy(tree, policy) for policy in tree.list_l7policies(listener.id)]
    return show_listener(ListenerView(resource=listener), policies)


def _show_l7policy(tree: Tree, policy: L7Policy) -> L7PolicyShown:
    rules = [show_l7rule(L7RuleView(resource=rule)) for rule in tree.list_l7rules(policy.id)]
    return show_l7policy(L7PolicyView(resource=policy), rules)


def _show_pool(tree: Tree, pool: Pool) -> PoolShown:
    monitor = tree.find_health_monitor(pool.id)
    return PoolShown(
        **list_pool(pool),
        loadbalancers=UNSET,
        listeners=list_ids(tuple(listener.id for listener in tree.list_listeners_using(pool.id))),
        members=tuple(show_member(MemberView(resource=one)) for one in tree.list_members(pool.id)),
        healthmonitor=None
        if monitor is None
        else show_health_monitor(HealthMonitorView(resource=monitor), is_nested=True),
    )
