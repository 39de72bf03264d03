"""Networks, subnets and ports in the shape of the Neutron v2.0 API, read-only, below `/network`.

The unmodified `openstack loadbalancer` command looks names up there; in a standalone installation nobody else answers.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from statera.api.call import OBJECT, Call, Route, answer_json
from statera.api.errors import Answer
from statera.api.listing import keep_fields
from statera.api.policy import is_cloud_admin
from statera.model.listing import ListQuery
from statera.model.network import Network, Port, Subnet
from statera.model.tree import LoadBalancer
from statera.model.views import LoadBalancerView
from statera.store.views import list_views

_PAGING = frozenset({"limit", "marker", "page_reverse", "sort_key", "sort_dir", "fields"})
_Items = list[dict[str, Any]]
_Gather = Callable[[Call], Awaitable[_Items]]


async def show_root(call: Call) -> Answer:
    """Show the one version."""
    links = [{"href": f"{call.base_url()}/network/v2.0", "rel": "self"}]
    return answer_json({"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})


async def show_version(_call: Call) -> Answer:
    return answer_json({"resources": []})


async def gather_networks(call: Call) -> _Items:
    return [_show_network(network) for network in await call.room.network.observe_networks(_list_asked(call))]


async def gather_subnets(call: Call) -> _Items:
    networks = await call.room.network.observe_networks((), _list_asked(call))
    return [_show_subnet(subnet) for network in networks for subnet in network.subnets]


async def gather_ports(call: Call) -> _Items:
    """Return all ports to an admin, to others those of their project's VIPs."""
    ports: Iterable[Port] = await call.room.network.observe_ports()
    if not is_cloud_admin(call.caller):
        own = await _list_own_ports(call)
        ports = [port for port in ports if port.id in own]
    free = [await call.room.network.observe_port(port_id) for port_id in _list_asked(call)]
    return [_show_port(port) for port in (*ports, *(port for port in free if port and not port.device_id))]


def _list_asked(call: Call) -> list[str]:
    """Return the ids that the path or the query names; without any, all objects are asked for."""
    named = [call.path["id"]] if "id" in call.path else []
    return named + [value for name, value in call.query if name == "id"]


async def gather_nothing(_call: Call) -> _Items:
    return []


async def _list_own_ports(call: Call) -> set[str]:
    if call.caller.project_id is None:
        return set()
    page = await list_views(call.room.store, LoadBalancer, ListQuery(project_id=call.caller.project_id))
    return {view.resource.vip.port_id for view in page.items if isinstance(view, LoadBalancerView)}


def _show_network(network: Network) -> dict[str, Any]:
    return {
        "id": network.id,
        "name": network.name,
        "mtu": network.mtu,
        "subnets": [subnet.id for subnet in network.subnets],
        "status": "ACTIVE",
        "admin_state_up": True,
        "shared": True,
        "router:external": False,
        "port_security_enabled": True,
    }


def _show_subnet(subnet: Subnet) -> dict[str, Any]:
    return {
        "id": subnet.id,
        "name": subnet.name,
        "network_id": subnet.network_id,
        "cidr": subnet.cidr,
        "ip_version": subnet.ip_version,
        "gateway_ip": subnet.gateway_ip,
        "allocation_pools": [{"start": first, "end": last} for first, last in subnet.allocation_pools],
        "enable_dhcp": False,
        "dns_nameservers": [],
        "host_routes": [],
    }


def _show_port(port: Port) -> dict[str, Any]:
    return {
        "id": port.id,
        "name": port.name,
        "network_id": port.network_id,
        "device_id": port.device_id,
        "mac_address": port.mac_address,
        "fixed_ips": [{"subnet_id": place.subnet_id, "ip_address": place.address} for place in port.addresses],
        "status": "ACTIVE",
        "admin_state_up": True,
        "security_groups": [],
    }


def _make_list(plural: str, gather: _Gather) -> Callable[[Call], Awaitable[Answer]]:
    async def act(call: Call) -> Answer:
        wanted: dict[str, set[str]] = {}
        for name, value in call.query:
            if name not in _PAGING:
                wanted.setdefault(name, set()).add(value)
        found = [item for item in await gather(call) if _matches(item, wanted)]
        return answer_json({plural: [_select(call, item) for item in found]})

    return act


def _matches(item: dict[str, Any], wanted: dict[str, set[str]]) -> bool:
    # Neutron takes a filter that it does not know for one that everything passes.
    return all(_text(item[name]) in values for name, values in wanted.items() if name in item)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _make_show(singular: str, gather: _Gather) -> Callable[[Call], Awaitable[Answer]]:
    async def act(call: Call) -> Answer:
        for item in await gather(call):
            if item["id"] == call.path["id"]:
                return answer_json({singular: _select(call, item)})
        kind = singular.title().replace("_", "")
        fault = NeutronFault(type=f"{kind}NotFound", message=f"{kind} {call.path['id']} could not be found.")
        return answer_json(NeutronMissing(NeutronError=fault), 404)

    return act


def _select(call: Call, item: dict[str, Any]) -> Any:
    fields = [value for name, value in call.query if name == "fields" and value]
    return keep_fields(item, fields) if fields else item


_KINDS = (
    ("network", "networks", gather_networks),
    ("subnet", "subnets", gather_subnets),
    ("port", "ports", gather_ports),
    ("security_group", "security-groups", gather_nothing),
    ("policy", "qos/policies", gather_nothing),
)


class NeutronFault(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    message: str
    detail: str = ""


class NeutronMissing(msgspec.Struct, frozen=True, kw_only=True):
    """What the Network API answers for an id that is none."""

    NeutronError: NeutronFault


_SHOWN = {"type": "object", "properties": {name: {"type": "string"} for name in ("id", "name")}}
"""What clients look up; there is more, in the shape of the Network API v2.0."""


def _list_routes() -> list[Route]:
    routes = [
        Route(method="GET", path="//network", act=show_root, summary="Network lookup: versions", shown=OBJECT),
        Route(method="GET", path="//network/v2.0", act=show_version, summary="Network lookup: root", shown=OBJECT),
    ]
    for singular, plural, gather in _KINDS:
        path, root = f"//network/v2.0/{plural}", plural.rpartition("/")[2].replace("-", "_")
        told: dict[str, Any] = {"arguments": ("id", "name", "fields"), "shown": _SHOWN}
        many, one = _make_list(root, gather), _make_show(singular, gather)
        routes += [
            Route(
                method="GET", path=path, act=many, summary=f"Network lookup: list {plural}", root=root, is_list=True,
                **told,
            ),
            Route(
                method="GET", path=f"{path}/{{id}}", act=one, summary=f"Network lookup: show {plural}", root=singular,
                missing=NeutronMissing, **told,
            ),
        ]  # fmt: skip
    return routes


ROUTES: tuple[Route, ...] = tuple(_list_routes())
