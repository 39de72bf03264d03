"""Whole trees: what one would change, made so in one edit, and those that were live brought back. Beyond the v2 API.

A body is that of a load balancer created in one call. Objects with an `id`, or with the natural key of one that is
there, are that one; others are created, and what the body does not have is deleted. What is left out of an object has
its default; of the load balancer itself, it stays as it is.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Call, Route, answer_json, not_found
from statera.api.errors import Answer
from statera.api.fields import Integer, Several, Uuid
from statera.api.fulltree import (
    L7PolicyInTree,
    ListenerInTree,
    PoolInTree,
    check_tree_secrets,
    grow_tree,
)
from statera.api.healthmonitors import NewHealthMonitor
from statera.api.l7rules import NewL7Rule
from statera.api.loadbalancers import LoadBalancerCreate, LoadBalancerShown, show_load_balancer
from statera.api.loading import find
from statera.api.members import NewMember
from statera.api.places import Place
from statera.api.shown import ReasonShown, format_time, show_reason, view_of_load_balancer
from statera.api.wire import NULLS_ON_UPDATE, Nested, OptionalUuid, Wire, fields_of, list_kept
from statera.base.digits import read_digits
from statera.base.errors import Refusal, Refused
from statera.model.agent_wire import Verdict
from statera.model.become import OWN, become, settle_tree
from statera.model.drafts import Decide, find_row, require_wanted
from statera.model.forecast import Action, AmphoraForecast, Forecast, ObjectChange, list_changes
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Resource, Tree
from statera.store.generations import list_generations, load_generation
from statera.store.trees import load_tree

Known = Annotated[str | UnsetType | None, Uuid()]
MOST_GENERATION = 2**63 - 1


class MemberWanted(NewMember, frozen=True, kw_only=True):
    id: Known = UNSET


class HealthMonitorWanted(NewHealthMonitor, frozen=True, kw_only=True):
    id: Known = UNSET


class PoolWanted(PoolInTree, frozen=True, kw_only=True):
    id: Known = UNSET
    members: Annotated[tuple[MemberWanted, ...] | UnsetType | None, Several(Nested(MemberWanted))] = UNSET
    healthmonitor: Annotated[HealthMonitorWanted | UnsetType | None, Nested(HealthMonitorWanted)] = UNSET


class L7RuleWanted(NewL7Rule, frozen=True, kw_only=True):
    id: Known = UNSET


class L7PolicyWanted(L7PolicyInTree, frozen=True, kw_only=True):
    id: Known = UNSET
    redirect_pool_id: OptionalUuid = UNSET
    rules: Annotated[tuple[L7RuleWanted, ...] | UnsetType | None, Several(Nested(L7RuleWanted))] = UNSET
    redirect_pool: Annotated[PoolWanted | UnsetType | None, Nested(PoolWanted)] = UNSET


class ListenerWanted(ListenerInTree, frozen=True, kw_only=True):
    id: Known = UNSET
    l7policies: Annotated[tuple[L7PolicyWanted, ...] | UnsetType | None, Several(Nested(L7PolicyWanted))] = UNSET
    default_pool: Annotated[PoolWanted | UnsetType | None, Nested(PoolWanted)] = UNSET


class LoadBalancerWanted(LoadBalancerCreate, frozen=True, kw_only=True):
    id: Known = UNSET
    listeners: Annotated[tuple[ListenerWanted, ...] | UnsetType | None, Several(Nested(ListenerWanted))] = UNSET
    pools: Annotated[tuple[PoolWanted, ...] | UnsetType | None, Several(Nested(PoolWanted))] = UNSET


class RollbackWanted(Wire, frozen=True, kw_only=True):
    generation: Annotated[int, Integer(1, MOST_GENERATION)]


# What a body wants, as a decision


def _read_wish(call: Call, wire: LoadBalancerWanted) -> Decide:
    """Return the edit that makes a tree what the body says. Raises `Refused`, then or when it is made."""
    given = list_kept(wire, NULLS_ON_UPDATE, OWN)
    ids = list(_list_ids(wire))
    terms, settings = call.terms(), call.room.settings.api
    _check_ids(ids)

    def decide(tree: Tree) -> Tree:
        _check_fixed(wire, tree.load_balancer)
        for kind, object_id in ids:
            require_wanted(find_row(tree, kind, object_id))
        balancer = msgspec.structs.replace(tree.load_balancer, **given)
        wanted = grow_tree(balancer, wire.listeners or (), wire.pools or (), settings, terms.now)
        return _allowed(call, tree, become(wanted, terms)(tree))

    return decide


def _list_ids(wire: LoadBalancerWanted) -> Iterator[tuple[type[Resource], Any]]:
    pools: list[PoolWanted] = [*(wire.pools or ())]
    for listener in wire.listeners or ():
        yield Listener, listener.id
        pools += _one(listener.default_pool)
        for policy in listener.l7policies or ():
            yield L7Policy, policy.id
            pools += _one(policy.redirect_pool)
            yield from ((L7Rule, rule.id) for rule in policy.rules or ())
    for pool in pools:
        yield Pool, pool.id
        yield from ((Member, member.id) for member in pool.members or ())
        yield from ((HealthMonitor, monitor.id) for monitor in _one(pool.healthmonitor))


def _one(value: Any) -> tuple[Any, ...]:
    return () if value is UNSET or value is None else (value,)


def _check_ids(ids: list[tuple[type[Resource], Any]]) -> None:
    given = [object_id for _, object_id in ids if object_id is not UNSET]
    if None in given:
        raise Refused(Refusal.INVALID, "None is not a valid option for id")
    if twice := next((one for one in given if given.count(one) > 1), None):
        raise Refused(Refusal.INVALID, f"Validation failure: {twice} must be named only once in the same request.")
    ids[:] = [(kind, object_id) for kind, object_id in ids if object_id is not UNSET]


_FIXED: dict[str, Callable[[LoadBalancer], Any]] = {
    "id": lambda one: one.id,
    "project_id": lambda one: one.project_id,
    "tenant_id": lambda one: one.project_id,
    "vip_address": lambda one: one.vip.address,
    "vip_port_id": lambda one: one.vip.port_id,
    "vip_subnet_id": lambda one: one.vip.subnet_id,
    "vip_network_id": lambda one: one.vip.network_id,
    "additional_vips": lambda one: [vip.subnet_id for vip in one.additional_vips],
    "provider": lambda one: one.provider,
    "flavor_id": lambda one: one.flavor_id,
    "availability_zone": lambda one: one.availability_zone,
    "vip_qos_policy_id": lambda one: one.vip_qos_policy_id,
    "vip_sg_ids": lambda _: [],
}
"""What a load balancer keeps for life: a body may name it, but not another."""


def _check_fixed(wire: LoadBalancerWanted, balancer: LoadBalancer) -> None:
    for name, read in _FIXED.items():
        given = getattr(wire, name)
        if name == "additional_vips":
            given = [vip.subnet_id for vip in given] if given else given
        elif isinstance(given, tuple):
            given = list(given)
        if given not in (UNSET, None, "", [], read(balancer)):
            raise Refused(Refusal.INVALID, f"Validation failure: {name} of a load balancer cannot be changed.")


_VERBS = {Action.CREATE: "post", Action.UPDATE: "put", Action.DELETE: "delete"}


def _allowed(call: Call, before: Tree, after: Tree) -> Tree:
    """Refuse (FORBIDDEN) what the caller could not do object by object either."""
    for change in list_changes(before, after):
        call.allow(f"{change.kind}:{_VERBS[change.action]}", before.load_balancer.project_id)
    return after


# What is shown


class AmphoraPlanned(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    host: str
    means: str
    why: str
    difference: str
    verdict: Verdict | None
    """HAProxy's own; null when the host could not be asked, and then `status_reason` says why."""
    status_reason: ReasonShown | None


class PlanShown(msgspec.Struct, frozen=True, kw_only=True):
    """`means`: nothing, runtime, reload, new-interfaces or new-amphora."""

    generation: int
    """The load balancer's now; applying the same makes it one more."""
    observed_generation: int
    means: str
    changes: tuple[ObjectChange, ...]
    amphorae: tuple[AmphoraPlanned, ...]
    steps: tuple[str, ...]


class GenerationShown(msgspec.Struct, frozen=True, kw_only=True):
    generation: int
    settled_at: str
    loadbalancer: Any = UNSET
    """The whole tree, as a body of a plan."""


def _show_plan(before: Tree, after: Tree, told: Forecast) -> PlanShown:
    # Ids of what is not there yet are made anew when it is applied.
    changes = [msgspec.structs.replace(one, id="") if one.action is Action.CREATE else one for one in told.objects]
    is_same = after == before
    return PlanShown(
        generation=before.load_balancer.generation,
        observed_generation=before.load_balancer.observed_generation,
        means=told.means,
        changes=tuple(changes),
        amphorae=tuple(_show_amphora(one) for one in told.amphorae),
        steps=() if is_same else told.steps,
    )


def _show_amphora(told: AmphoraForecast) -> AmphoraPlanned:
    return AmphoraPlanned(
        id=told.id,
        host=told.host,
        means=told.means,
        why=told.why,
        difference=told.difference,
        verdict=told.verdict,
        status_reason=show_reason(told.reason) if told.reason else None,
    )


def describe_tree(tree: Tree) -> dict[str, Any]:
    """Return a tree as a body that wants just this tree."""
    tree = settle_tree(tree)
    listeners = []
    for listener in tree.listeners:
        policies = []
        for policy in tree.list_l7policies(listener.id):
            rules = [_describe(rule, L7RuleWanted) for rule in tree.list_l7rules(policy.id)]
            given = {name: value for name, value in _describe(policy, L7PolicyWanted).items() if value is not None}
            policies.append(given | {"rules": rules})
        listeners.append(_describe(listener, ListenerWanted) | {"l7policies": policies})
    pools = []
    for pool in tree.pools:
        members = [_describe(member, MemberWanted) for member in tree.list_members(pool.id)]
        monitor = tree.find_health_monitor(pool.id)
        below = {"healthmonitor": _describe(monitor, HealthMonitorWanted)} if monitor is not None else {}
        pools.append(_describe(pool, PoolWanted) | {"members": members} | below)
    own = {name: getattr(tree.load_balancer, name) for name in ("id", *OWN)}
    return own | {"listeners": listeners, "pools": pools}


def _describe(row: Resource, kind: type[Wire]) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in fields_of(kind) if name in row.__struct_fields__}
    persistence = shown.get("session_persistence")
    if persistence is not None:
        given = msgspec.structs.asdict(persistence)
        shown["session_persistence"] = {name: value for name, value in given.items() if value is not None}
    return shown


# Operations


async def _read_body(call: Call) -> tuple[Place, Decide]:
    call.require_arguments()
    wire = await call.read(LoadBalancerWanted, "load_balancer", "loadbalancer")
    balancer = await find(call, LoadBalancer, call.path["loadbalancer_id"], "loadbalancer:put")
    await check_tree_secrets(call, wire.listeners or (), wire.pools or ())
    return balancer, _read_wish(call, wire)


async def accept_plan(call: Call) -> Answer:
    """Say what a tree would change, and change nothing."""
    balancer, decide = await _read_body(call)
    return await _answer_plan(call, balancer, decide)


async def _answer_plan(call: Call, balancer: Place, decide: Decide) -> Answer:
    if call.room.forecaster is None:
        raise Refused(Refusal.UNSUPPORTED, "plans where the API cannot ask the hosts")
    before = await load_tree(call.room.store, balancer.id)
    if before is None:
        raise not_found("Load Balancer", balancer.id)
    after = decide(before)
    return answer_json({"plan": _show_plan(before, after, await call.room.forecaster.forecast(before, after))})


async def accept_apply(call: Call) -> Answer:
    """Make the tree so, in one edit."""
    balancer, decide = await _read_body(call)
    tree = await call.edit(balancer.id, decide, f"Load balancer {balancer.id} made what a whole tree says.")
    return answer_json({"loadbalancer": show_load_balancer(view_of_load_balancer(tree))})


async def accept_generations(call: Call) -> Answer:
    """List the generations that were live, newest first."""
    balancer = await _find_shown(call)
    kept = await list_generations(call.room.store, balancer.id)
    shown = [GenerationShown(generation=one.generation, settled_at=format_time(one.settled_at)) for one in kept]
    return answer_json({"generations": shown})


async def accept_generation(call: Call) -> Answer:
    balancer = await _find_shown(call)
    text = call.path["generation"]
    number = read_digits(text) or 0
    kept = {one.generation: one for one in await list_generations(call.room.store, balancer.id)}
    tree = await load_generation(call.room.store, balancer.id, number)
    if tree is None or number not in kept:
        raise not_found("Generation", text)
    shown = GenerationShown(
        generation=number, settled_at=format_time(kept[number].settled_at), loadbalancer=describe_tree(tree)
    )
    return answer_json({"generation": shown})


async def _find_shown(call: Call) -> Place:
    call.require_arguments()
    return await find(call, LoadBalancer, call.path["loadbalancer_id"], "loadbalancer:get_one")


async def accept_rollback(call: Call) -> Answer:
    """Want the tree of a former generation again, with the ids that it had."""
    call.require_arguments()
    number = (await call.read_flat(RollbackWanted, "rollback")).generation
    balancer = await find(call, LoadBalancer, call.path["loadbalancer_id"], "loadbalancer:put")
    wanted = await load_generation(call.room.store, balancer.id, number)
    if wanted is None:
        raise not_found("Generation", str(number))
    edit = become(wanted, call.terms(), by_id_only=True)
    what = f"Load balancer {balancer.id} rolled back to generation {number}."
    tree = await call.edit(balancer.id, lambda before: _allowed(call, before, edit(before)), what)
    return answer_json({"loadbalancer": show_load_balancer(view_of_load_balancer(tree))})


_ONE = "/loadbalancers/{loadbalancer_id}"
ROUTES = (
    Route(
        method="POST",
        path=f"{_ONE}/plan",
        act=accept_plan,
        summary="Say what a whole tree would change",
        body=LoadBalancerWanted,
        root="loadbalancer",
    ),
    Route(
        method="POST",
        path=f"{_ONE}/apply",
        act=accept_apply,
        summary="Make a load balancer what a whole tree says",
        body=LoadBalancerWanted,
        root="loadbalancer",
        shown=LoadBalancerShown,
    ),
    Route(method="GET", path=f"{_ONE}/generations", act=accept_generations, summary="List what was live, newest first"),
    Route(
        method="GET",
        path=f"{_ONE}/generations/{{generation}}",
        act=accept_generation,
        summary="Show what was live once",
    ),
    Route(method="POST", path=f"{_ONE}/rollback", act=accept_rollback, summary="Bring back what was live once"),
)
