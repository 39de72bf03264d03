"""Amphorae, for administrators: list, show, counters, failover (rules.md section 23).

Attributes that speak of virtual machines or of a management network are null: an amphora here is a sandbox on a host.
"""

from typing import cast

import msgspec

from statera.api.call import Call, Route, answer_json, not_found
from statera.api.errors import Answer
from statera.api.listing import Collection, Constant, answer_list, answer_one, same_columns
from statera.api.routing import make_list_route
from statera.api.shown import ReasonShown, format_time, show_reason
from statera.base.errors import Refusal, Refused
from statera.model.amphora import Amphora
from statera.model.edits import fail_over_amphora
from statera.model.enums import AmphoraStatus
from statera.model.network import Port
from statera.model.statistics import AmphoraTraffic
from statera.model.views import AmphoraView
from statera.model.vrrp import PRIORITIES, VIRTUAL_ROUTER_ID
from statera.store.amphorae import list_amphora_ids
from statera.store.claims import mark_due
from statera.store.statistics import list_amphora_traffic
from statera.store.views import load_view

VIP_INTERFACE = "eth0"


class AmphoraShown(msgspec.Struct, frozen=True, kw_only=True):
    """Every attribute of the v2 API; beyond it `host`, `last_heartbeat_at`, `has_vips` and `status_reason`.

    `role` is what it was made for; `has_vips` tells which of those that share the VIPs has them now.
    """

    id: str
    loadbalancer_id: str | None
    compute_id: str | None = None
    lb_network_ip: str | None = None
    vrrp_ip: str | None
    ha_ip: str | None
    vrrp_port_id: str | None
    ha_port_id: str | None
    cert_expiration: str | None = None
    cert_busy: bool = False
    role: str | None
    status: str
    vrrp_interface: str | None
    vrrp_id: int | None
    vrrp_priority: int | None
    cached_zone: str | None = None
    created_at: str
    updated_at: str | None
    image_id: str | None = None
    compute_flavor: str | None = None
    host: str
    last_heartbeat_at: str | None
    has_vips: bool | None
    status_reason: ReasonShown | None


def show_amphora(view: AmphoraView) -> AmphoraShown:
    """Return what the API shows of an amphora."""
    amphora = view.resource
    vip = view.vip
    own = next((port for port in amphora.ports if vip is not None and port.network_id == vip.network_id), None)
    is_paired = amphora.role in PRIORITIES
    return AmphoraShown(
        id=amphora.id,
        loadbalancer_id=amphora.load_balancer_id or None,
        vrrp_ip=_first_address(own),
        ha_ip=vip.address if vip is not None else None,
        vrrp_port_id=own.id if own is not None else None,
        ha_port_id=vip.port_id if vip is not None else None,
        role=amphora.role if amphora.load_balancer_id else None,
        status=amphora.status,
        vrrp_interface=VIP_INTERFACE if is_paired else None,
        vrrp_id=VIRTUAL_ROUTER_ID if is_paired else None,
        vrrp_priority=PRIORITIES.get(amphora.role),
        created_at=format_time(amphora.created_at),
        updated_at=format_time(amphora.updated_at) if amphora.updated_at else None,
        host=amphora.host,
        last_heartbeat_at=format_time(amphora.last_heartbeat_at) if amphora.last_heartbeat_at else None,
        has_vips=amphora.has_vips,
        status_reason=show_reason(amphora.reason) if amphora.reason else None,
    )


def _first_address(port: Port | None) -> str | None:
    return port.addresses[0].address if port is not None and port.addresses else None


_NULL = ("compute_id", "lb_network_ip", "cert_expiration", "cached_zone", "image_id", "compute_flavor")
COLLECTION = Collection(
    singular="amphora",
    plural="amphorae",
    kind=Amphora,
    target="amphora",
    is_for_admins=True,
    columns=same_columns("id", "role", "status", "created_at", "updated_at", "host", "last_heartbeat_at", "has_vips")
    | same_columns("ha_ip", "ha_port_id", "vrrp_ip", "vrrp_port_id")
    | {"loadbalancer_id": "load_balancer_id", "load_balancer_id": "load_balancer_id", "cert_busy": Constant(False)}
    | {name: Constant(None) for name in (*_NULL, "vrrp_interface", "vrrp_id", "vrrp_priority")},
    show=show_amphora,
)


async def accept_list(call: Call) -> Answer:
    return await answer_list(call, COLLECTION)


async def accept_show(call: Call) -> Answer:
    return answer_one(call, COLLECTION, await _load(call, "amphora:get_one"))


async def accept_stats(call: Call) -> Answer:
    """Show what each listener has carried on the amphora. Refuses (NOT_FOUND) when nothing was counted."""
    call.require_arguments("fields")
    amphora = (await _load(call, "amphora:get_stats")).resource
    found = await list_amphora_traffic(call.room.store, amphora.id)
    if not found:
        raise not_found("Amphora stats for", amphora.id)
    return answer_json({"amphora_stats": found})


async def accept_failover(call: Call) -> Answer:
    """Want another in its place."""
    call.require_arguments()
    await _replace(call, (await _load(call, "amphora:put_failover")).resource)
    return Answer(status=202)


async def accept_delete(call: Call) -> Answer:
    """Want a failed one gone, and another in its place. Refuses (CONFLICT) any other."""
    call.require_arguments()
    amphora = (await _load(call, "amphora:delete")).resource
    if amphora.status != AmphoraStatus.ERROR:
        raise Refused(Refusal.CONFLICT, f"amphora {amphora.id} is immutable and cannot be updated.")
    await _replace(call, amphora)
    return Answer(status=204)


async def accept_configuration(call: Call) -> Answer:
    """Have the amphora looked at again at once, and brought to what it should be.

    An agent takes nothing else from here: its own options are those of its host.
    """
    call.require_arguments()
    amphora = (await _load(call, "amphora:put_config")).resource
    _require_owner(amphora)
    await mark_due(call.room.store, [amphora.load_balancer_id])
    return Answer(status=202)


async def _replace(call: Call, amphora: Amphora) -> None:
    _require_owner(amphora)
    known = await list_amphora_ids(call.room.store, amphora.load_balancer_id)
    decide = fail_over_amphora(amphora.id, known, call.terms())
    await call.edit(amphora.load_balancer_id, decide, f"Failover of amphora {amphora.id} asked for.")


def _require_owner(amphora: Amphora) -> None:
    if not amphora.load_balancer_id:
        raise Refused(Refusal.CONFLICT, f"amphora {amphora.id} is a spare: it serves no load balancer yet.")


async def _load(call: Call, target: str) -> AmphoraView:
    amphora_id = call.path["amphora_id"]
    found = await load_view(call.room.store, Amphora, amphora_id)
    if found is None:
        raise not_found("Amphora", amphora_id)
    call.allow(target, None)
    return cast(AmphoraView, found)


_MANY = "//v2/octavia/amphorae"
_ONE = f"{_MANY}/{{amphora_id}}"
ROUTES = (
    make_list_route(COLLECTION, AmphoraShown, _MANY, accept_list, "List amphorae"),
    Route(
        method="GET",
        path=_ONE,
        act=accept_show,
        summary="Show an amphora",
        arguments=("fields",),
        root="amphora",
        shown=AmphoraShown,
    ),
    Route(
        method="GET",
        path=f"{_ONE}/stats",
        act=accept_stats,
        summary="Show the traffic of each listener on an amphora",
        arguments=("fields",),
        root="amphora_stats",
        shown=AmphoraTraffic,
        is_list=True,
    ),
    Route(method="PUT", path=f"{_ONE}/failover", act=accept_failover, summary="Replace an amphora", status=202),
    Route(method="PUT", path=f"{_ONE}/config", act=accept_configuration, summary="Configure an amphora", status=202),
    Route(method="DELETE", path=_ONE, act=accept_delete, summary="Delete a failed amphora", status=204),
)
