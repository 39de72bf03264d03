"""What flavors and availability zones may say: the capabilities of the provider, and profiles' data read against them.

A capability is a field of `FlavorData` or `ZoneData`; its type is the check, its description is what clients see.
"""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta

from statera.api.call import Act, Call, Room, Route, answer_json
from statera.api.errors import Answer
from statera.api.listing import keep_fields
from statera.api.unsupported import SERVED_TOPOLOGIES, refuse_option
from statera.base.errors import Refusal, Refused
from statera.base.unreadable import UNREADABLE
from statera.model.catalog import FlavorData, ZoneData

PROVIDER_ALIAS = "octavia"
D = TypeVar("D", FlavorData, ZoneData)


class Described(msgspec.Struct, frozen=True):
    """A provider or a capability."""

    name: str
    description: str


def require_provider(room: Room, name: str) -> None:
    """Refuse (INVALID) a provider that is not there."""
    if name not in (room.provider, PROVIDER_ALIAS):
        raise Refused(Refusal.INVALID, f"Provider '{name}' is not enabled.")


def read_data(kind: type[D], text: str, field: str) -> D:
    """Return a profile's data. Raises `Refused`: (INVALID) for no JSON object, (UNSUPPORTED) for no capability."""
    try:
        values = msgspec.json.decode(text)
    except UNREADABLE:
        values = None
    if not isinstance(values, dict):
        raise Refused(Refusal.INVALID, f"{text} is not a valid option for {field}")
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise refuse_option(f"{field}: {error}") from None


def check_flavor_data(data: FlavorData) -> None:
    """Refuse (UNSUPPORTED) what a flavor may say and no load balancer can have here."""
    topology = data.loadbalancer_topology
    if topology is not UNSET and topology not in SERVED_TOPOLOGIES:
        raise refuse_option(f"loadbalancer_topology {topology}")


async def list_providers(call: Call) -> Answer:
    """List the provider under both of its names."""
    call.require_arguments("fields")
    call.allow("provider:get_all", call.caller.project_id)
    names = dict.fromkeys((call.room.provider, PROVIDER_ALIAS))
    providers = [Described(name, "Statera: amphorae as sandboxes.") for name in names]
    return answer_json({"providers": _keep(call, providers)})


async def list_flavor_capabilities(call: Call) -> Answer:
    return _answer(call, "provider-flavor:get_all", "flavor_capabilities", FlavorData)


async def list_zone_capabilities(call: Call) -> Answer:
    return _answer(call, "provider-availability-zone:get_all", "availability_zone_capabilities", ZoneData)


def _answer(call: Call, target: str, root: str, kind: type[FlavorData] | type[ZoneData]) -> Answer:
    call.allow(target, call.caller.project_id)
    wanted = {name: value for name, value in call.query if name != "fields"}
    if not wanted.keys() <= {"name", "description"}:
        raise Refused(Refusal.INVALID, "One or more arguments are either duplicate or invalid")
    require_provider(call.room, call.path["provider"])
    found = [
        one for one in list_capabilities(kind) if all(getattr(one, name) == value for name, value in wanted.items())
    ]
    return answer_json({root: _keep(call, found)})


def list_capabilities(kind: type[FlavorData] | type[ZoneData]) -> list[Described]:
    """Return what a profile's data may hold."""
    hints = get_type_hints(kind, include_extras=True)
    return [Described(name, _describe(hint)) for name, hint in hints.items()]


def _describe(hint: Any) -> str:
    assert get_origin(hint) is Annotated
    return next(extra.description or "" for extra in get_args(hint)[1:] if isinstance(extra, Meta))


def _keep(call: Call, items: Sequence[Described]) -> Sequence[Any]:
    wanted = [value for name, value in call.query if name == "fields" and value]
    return [keep_fields(one, wanted) for one in items] if wanted else items


def _route(path: str, act: Act, summary: str, root: str, *filters: str) -> Route:
    arguments = ("fields", *filters)
    return Route(
        method="GET", path=path, act=act, summary=summary, arguments=arguments, root=root, shown=Described, is_list=True
    )


_ONE = "/providers/{provider}"
_FLAVORS, _ZONES = "flavor_capabilities", "availability_zone_capabilities"
_FILTERS = ("name", "description")
ROUTES = (
    _route("/providers", list_providers, "List the providers", "providers"),
    _route(f"{_ONE}/{_FLAVORS}", list_flavor_capabilities, "List what flavors may say", _FLAVORS, *_FILTERS),
    _route(f"{_ONE}/{_ZONES}", list_zone_capabilities, "List what availability zones may say", _ZONES, *_FILTERS),
)
