"""Load balancers: create (in one call with all below them), list, show, update, delete, status tree and history."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Call, Route, answer_json
from statera.api.chosen import choose
from statera.api.errors import Answer
from statera.api.fields import TRUE_WORDS, Address, Choice, Several, Text, Uuid
from statera.api.fulltree import ListenerInTree, PoolInTree, check_tree_secrets, grow_tree, show_children
from statera.api.listing import COMMON_COLUMNS, Collection, Constant, answer_list, answer_one, same_columns
from statera.api.loading import find, load
from statera.api.places import Place
from statera.api.routing import make_routes
from statera.api.shown import Shown, list_common, list_ids, view_of_load_balancer
from statera.api.statustree import StatusTree, answer_status
from statera.api.vips import allocate_vips, plan_vips
from statera.api.wire import (
    NULLS_ON_CREATE,
    NULLS_ON_UPDATE,
    Name,
    Nested,
    OptionalFlag,
    OptionalUuid,
    ProjectId,
    Tags,
    Wire,
    list_kept,
)
from statera.base.digits import read_digits
from statera.base.errors import Refusal, Refused
from statera.base.ids import new_id
from statera.model.edits import Change, delete_load_balancer, fail_over_load_balancer, update_load_balancer
from statera.model.enums import Topology
from statera.model.features import check_features
from statera.model.tree import LoadBalancer, Vip
from statera.model.views import LoadBalancerView
from statera.model.vip import AdditionalVip, VipWish
from statera.model.work import Event
from statera.store.amphorae import list_amphora_ids
from statera.store.events import list_events
from statera.store.trees import insert_tree

MOST_EVENTS = 1000

Groups = Annotated[tuple[str, ...] | UnsetType | None, Several(Uuid(), unique=True)]


class AdditionalVipGiven(Wire, frozen=True, kw_only=True):
    subnet_id: Annotated[str, Uuid()]
    ip_address: Annotated[str | UnsetType | None, Address()] = UNSET
    port_id: OptionalUuid = UNSET


class LoadBalancerUpdate(Wire, frozen=True, kw_only=True):
    name: Name = UNSET
    description: Name = UNSET
    admin_state_up: OptionalFlag = UNSET
    tags: Tags = UNSET
    vip_qos_policy_id: OptionalUuid = UNSET
    vip_sg_ids: Groups = UNSET
    flavor_id: OptionalUuid = UNSET
    """Beyond the v2 API, as the next: on an update the flavor and the topology change while traffic flows."""
    topology: Annotated[Topology | UnsetType | None, Choice(Topology)] = UNSET


class LoadBalancerCreate(LoadBalancerUpdate, frozen=True, kw_only=True):
    project_id: ProjectId = UNSET
    tenant_id: ProjectId = UNSET
    vip_address: Annotated[str | UnsetType | None, Address()] = UNSET
    vip_port_id: OptionalUuid = UNSET
    vip_subnet_id: OptionalUuid = UNSET
    vip_network_id: OptionalUuid = UNSET
    additional_vips: Annotated[
        tuple[AdditionalVipGiven, ...] | UnsetType | None, Several(Nested(AdditionalVipGiven))
    ] = UNSET
    provider: Annotated[str | UnsetType | None, Text(64)] = UNSET
    availability_zone: Name = UNSET
    listeners: Annotated[tuple[ListenerInTree, ...] | UnsetType | None, Several(Nested(ListenerInTree))] = UNSET
    pools: Annotated[tuple[PoolInTree, ...] | UnsetType | None, Several(Nested(PoolInTree))] = UNSET


class AdditionalVipShown(msgspec.Struct, frozen=True, kw_only=True):
    subnet_id: str | None
    ip_address: str
    port_id: str


class LoadBalancerShown(Shown, frozen=True, kw_only=True):
    """Every attribute of the v2 API; beyond it `topology` and `observed_generation`: the newest that is live."""

    description: str
    vip_address: str
    vip_port_id: str
    vip_subnet_id: str | None
    vip_network_id: str
    vip_sg_ids: tuple[str, ...] = ()
    additional_vips: tuple[AdditionalVipShown, ...]
    listeners: Any
    pools: Any
    provider: str
    flavor_id: str | None
    vip_qos_policy_id: str | None
    availability_zone: str | None
    vip_vnic_type: str = "normal"
    topology: Topology
    observed_generation: int


def show_load_balancer(view: LoadBalancerView) -> LoadBalancerShown:
    """Return what the API shows of a load balancer."""
    return LoadBalancerShown(
        **_list_own(view.resource), listeners=list_ids(view.listener_ids), pools=list_ids(view.pool_ids)
    )


def _list_own(balancer: LoadBalancer) -> dict[str, Any]:
    return list_common(balancer) | {
        "description": balancer.description,
        "vip_address": balancer.vip.address,
        "vip_port_id": balancer.vip.port_id,
        "vip_subnet_id": balancer.vip.subnet_id,
        "vip_network_id": balancer.vip.network_id,
        "additional_vips": tuple([_show_vip(vip) for vip in balancer.additional_vips]),
        "provider": balancer.provider,
        "flavor_id": balancer.flavor_id,
        "vip_qos_policy_id": balancer.vip_qos_policy_id,
        "availability_zone": balancer.availability_zone,
        "topology": balancer.topology,
        "generation": balancer.generation,
        "observed_generation": balancer.observed_generation,
    }


def _show_vip(vip: Vip) -> AdditionalVipShown:
    return AdditionalVipShown(subnet_id=vip.subnet_id, ip_address=vip.address, port_id=vip.port_id)


_SAME = (
    "description",
    "provider",
    "flavor_id",
    "vip_qos_policy_id",
    "availability_zone",
    "topology",
    "observed_generation",
)
COLLECTION = Collection(
    singular="loadbalancer",
    plural="loadbalancers",
    kind=LoadBalancer,
    target="loadbalancer",
    columns=COMMON_COLUMNS
    | same_columns(*_SAME, "vip_address", "vip_port_id", "vip_subnet_id", "vip_network_id")
    | {"generation": "generation", "vip_vnic_type": Constant("normal")},
    show=show_load_balancer,
)


# Creation


async def accept_create(call: Call) -> Answer:
    """Check all that needs no network, allocate the VIPs, store the tree; give the VIPs back when that fails."""
    call.require_arguments()
    wire = await call.read(LoadBalancerCreate, "load_balancer", "loadbalancer")
    project_id = _decide_project(call, wire)
    call.allow("loadbalancer:post", project_id)
    if wire.vip_sg_ids is not UNSET:
        call.allow("loadbalancer:post:vip_sg_ids", project_id)
    load_balancer_id = new_id()
    wish = _read_vip_wish(wire)
    requests = await plan_vips(call.room.network, wish, load_balancer_id)
    chosen = await choose(
        call.room, flavor_id=wire.flavor_id or None, zone=wire.availability_zone or None, provider=wire.provider or None
    )
    _check_network_options(wire)
    vips = await allocate_vips(call.room.network, wish, requests)
    try:
        more = msgspec.structs.asdict(chosen) | {"id": load_balancer_id, "project_id": project_id}
        more |= {"topology": wire.topology} if wire.topology else {}
        balancer = _build(call, wire, vips, **more)
        await check_tree_secrets(call, wire.listeners or (), wire.pools or ())
        settings, now = call.room.settings.api, balancer.created_at
        tree = grow_tree(balancer, wire.listeners or (), wire.pools or (), settings, now)
        check_features(tree, call.recall_engines())
        what, limits = f"Load balancer {load_balancer_id} created.", call.room.limits
        call.note_concern(tree.load_balancer.id)
        await insert_tree(call.room.store, tree, actor=call.caller.name, what=what, limits=limits)
    except Refused:
        # Only then is it sure that nothing was stored. What any other end leaves here is collected as an orphan.
        await call.room.network.remove_ports(load_balancer_id)
        raise
    shown = LoadBalancerShown(**_list_own(tree.load_balancer), **show_children(tree))
    return answer_json({"loadbalancer": shown}, 201)


def _decide_project(call: Call, wire: LoadBalancerCreate) -> str:
    project_id = wire.project_id or wire.tenant_id or call.caller.project_id
    if not project_id:
        raise _invalid(
            "Missing project ID in request where one is required. "
            "An administrator should check the keystone settings in the Octavia configuration."
        )
    return project_id


def _read_vip_wish(wire: LoadBalancerCreate) -> VipWish:
    return VipWish(
        port_id=wire.vip_port_id or None,
        network_id=wire.vip_network_id or None,
        subnet_id=wire.vip_subnet_id or None,
        address=wire.vip_address or None,
        additional=tuple(
            AdditionalVip(subnet_id=vip.subnet_id, address=vip.ip_address or None) for vip in wire.additional_vips or ()
        ),
    )


def _check_network_options(wire: LoadBalancerUpdate) -> None:
    if wire.vip_qos_policy_id:
        raise _invalid("VIP QoS policy is not allowed in this deployment.")
    if wire.vip_sg_ids:
        raise Refused(Refusal.INVALID, f"Security Group {wire.vip_sg_ids[0]} not found.")


def _build(call: Call, wire: LoadBalancerCreate, vips: tuple[Vip, ...], **more: Any) -> LoadBalancer:
    given = list_kept(wire, NULLS_ON_CREATE, _SETTABLE)
    return LoadBalancer(
        **(given | more),
        vip=vips[0],
        additional_vips=vips[1:],
        owns_vip_port=not wire.vip_port_id,
        created_at=call.room.clock.now(),
    )


_SETTABLE = ("name", "description", "admin_state_up", "tags")


def _invalid(detail: str) -> Refused:
    return Refused(Refusal.INVALID, f"Validation failure: {detail}")


# The other operations


async def accept_list(call: Call) -> Answer:
    return await answer_list(call, COLLECTION)


async def accept_show(call: Call) -> Answer:
    return answer_one(call, COLLECTION, await _load(call, "loadbalancer:get_one"))


async def accept_update(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(LoadBalancerUpdate, "load_balancer", "loadbalancer")
    balancer = await _find(call, "loadbalancer:put")
    if wire.vip_sg_ids is not UNSET:
        call.allow("loadbalancer:put:vip_sg_ids", balancer.project_id)
    _check_network_options(wire)
    chosen = await _choose_anew(call, wire, (await _load(call, "loadbalancer:put")).resource)
    decide = update_load_balancer(_change(wire, chosen), call.terms())
    tree = await call.edit(balancer.id, decide, f"Load balancer {balancer.id} updated.")
    return answer_json({"loadbalancer": show_load_balancer(view_of_load_balancer(tree))})


async def _choose_anew(call: Call, wire: LoadBalancerUpdate, balancer: LoadBalancer) -> dict[str, Any]:
    """Return what another flavor or topology changes; null changes nothing. A flavor may say the topology."""
    values: dict[str, Any] = {}
    if wire.flavor_id and wire.flavor_id != balancer.flavor_id:
        chosen = await choose(call.room, flavor_id=wire.flavor_id, zone=None, provider=balancer.provider)
        values = {"flavor_id": chosen.flavor_id, "topology": chosen.topology}
    return values | ({"topology": wire.topology} if wire.topology else {})


def _change(wire: LoadBalancerUpdate, chosen: dict[str, Any]) -> Change[LoadBalancer]:
    given = list_kept(wire, NULLS_ON_UPDATE, _SETTABLE) | chosen
    return lambda balancer: msgspec.structs.replace(balancer, **given)


async def accept_delete(call: Call) -> Answer:
    call.require_arguments("cascade")
    balancer = await _find(call, "loadbalancer:delete")
    cascade = (call.argument("cascade") or "").strip().lower() in TRUE_WORDS
    decide = delete_load_balancer(cascade=cascade, terms=call.terms())
    await call.edit(balancer.id, decide, f"Load balancer {balancer.id} deleted.")
    return Answer(status=204)


async def accept_status(call: Call) -> Answer:
    # As for statistics, `fields` chooses nothing here.
    call.require_arguments("fields")
    return await answer_status(call, call.path["loadbalancer_id"], "loadbalancer:get_status")


async def accept_events(call: Call) -> Answer:
    """Show the history, newest first. Beyond the v2 API."""
    call.require_arguments("limit")
    balancer = (await _load(call, "loadbalancer:get_status")).resource
    limit = read_digits(call.argument("limit") or "")
    events = await list_events(call.room.store, balancer.id, 100 if limit is None else min(limit, MOST_EVENTS))
    return answer_json({"events": events})


async def accept_failover(call: Call) -> Answer:
    """Want other amphorae in the place of all that there are."""
    call.require_arguments()
    balancer = await _find(call, "loadbalancer:put_failover")
    decide = fail_over_load_balancer(await list_amphora_ids(call.room.store, balancer.id), call.terms())
    await call.edit(balancer.id, decide, f"Failover of load balancer {balancer.id} asked for.")
    return Answer(status=202)


async def _find(call: Call, target: str) -> Place:
    return await find(call, LoadBalancer, call.path["loadbalancer_id"], target)


async def _load(call: Call, target: str) -> LoadBalancerView:
    return await load(call, LoadBalancerView, call.path["loadbalancer_id"], target)


_ONE = "/loadbalancers/{loadbalancer_id}"
_STATUS: dict[str, Any] = {"arguments": ("fields",), "root": "statuses", "shown": StatusTree}
ROUTES = (
    *make_routes(
        COLLECTION,
        LoadBalancerShown,
        listed=accept_list,
        shown=accept_show,
        created=(accept_create, LoadBalancerCreate),
        updated=(accept_update, LoadBalancerUpdate),
        deleted=accept_delete,
        on_delete=("cascade",),
    ),
    Route(method="GET", path=f"{_ONE}/status", act=accept_status, summary="Show the status tree", **_STATUS),
    Route(
        method="GET", path=f"{_ONE}/statuses", act=accept_status, summary="Show the status tree (old name)", **_STATUS
    ),
    Route(
        method="GET",
        path=f"{_ONE}/events",
        act=accept_events,
        summary="Show the history, newest first",
        arguments=("limit",),
        root="events",
        shown=Event,
        is_list=True,
    ),
    Route(method="PUT", path=f"{_ONE}/failover", act=accept_failover, summary="Replace all amphorae", status=202),
)
