"""Listeners."""

from collections.abc import Sequence
from typing import Annotated, Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Call, answer_json
from statera.api.errors import Answer
from statera.api.fields import Choice, Cidr, Integer, Several, Text, Texts, Uuid
from statera.api.l7policies import NewL7Policy, list_policy_edits
from statera.api.listing import COMMON_COLUMNS, Collection, same_columns
from statera.api.loading import find
from statera.api.operations import Operations
from statera.api.places import Place
from statera.api.routing import make_routes
from statera.api.shown import Id, Shown, list_common, list_ids, view_of_listener
from statera.api.tls import (
    check_hsts,
    check_listener_secrets,
    check_listener_tls,
    fill_listener_terms,
    names_authority,
)
from statera.api.unsupported import LISTENER_NULLS, check_listener_options
from statera.api.wire import (
    NULLS_ON_CREATE,
    NULLS_ON_UPDATE,
    Name,
    Nested,
    OptionalFlag,
    OptionalRef,
    OptionalUuid,
    ProjectId,
    Tags,
    Wire,
    list_kept,
)
from statera.base.errors import Refusal, Refused
from statera.base.ids import new_id
from statera.base.settings import ApiSettings
from statera.model.drafts import join_edits
from statera.model.edits import Change, create_listener, delete_listener, update_listener
from statera.model.enums import ClientAuthentication, ListenerProtocol
from statera.model.tree import Listener, LoadBalancer
from statera.model.views import ListenerView
from statera.store.views import load_view

MOST_TIMEOUT_MS = 2_073_600_000
"""24 days, the most that HAProxy takes."""
Timeout = Annotated[int | UnsetType | None, Integer(0, MOST_TIMEOUT_MS)]
TIMEOUTS = ("timeout_client_data", "timeout_member_connect", "timeout_member_data", "timeout_tcp_inspect")
AUTHORITY = ("client_ca_tls_container_ref", "client_crl_container_ref")
HTTP_HEADERS = (
    "X-Forwarded-For",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Forwarded-IP",
    "X-Client-IP",
    "X-Real-IP",
)
CERTIFICATE_HEADERS = (
    "X-SSL-Client-Verify",
    "X-SSL-Client-Has-Cert",
    "X-SSL-Client-DN",
    "X-SSL-Client-CN",
    "X-SSL-Issuer",
    "X-SSL-Client-SHA1",
    "X-SSL-Client-Not-Before",
    "X-SSL-Client-Not-After",
)


class ListenerUpdate(Wire, frozen=True, kw_only=True):
    name: Name = UNSET
    description: Name = UNSET
    admin_state_up: OptionalFlag = UNSET
    tags: Tags = UNSET
    default_pool_id: OptionalUuid = UNSET
    connection_limit: Annotated[int | UnsetType | None, Integer(-1)] = UNSET
    insert_headers: Annotated[dict[str, str] | UnsetType | None, Texts()] = UNSET
    timeout_client_data: Timeout = UNSET
    timeout_member_connect: Timeout = UNSET
    timeout_member_data: Timeout = UNSET
    timeout_tcp_inspect: Timeout = UNSET
    allowed_cidrs: Annotated[tuple[str, ...] | UnsetType | None, Several(Cidr())] = UNSET
    default_tls_container_ref: OptionalRef = UNSET
    sni_container_refs: Annotated[tuple[str, ...] | UnsetType | None, Several(Text())] = UNSET
    client_ca_tls_container_ref: OptionalRef = UNSET
    client_authentication: Annotated[str | UnsetType | None, Choice(ClientAuthentication)] = UNSET
    client_crl_container_ref: OptionalRef = UNSET
    tls_ciphers: Annotated[str | UnsetType | None, Text(2048)] = UNSET
    tls_versions: Annotated[tuple[str, ...] | UnsetType | None, Several(Text(32))] = UNSET
    alpn_protocols: Annotated[tuple[str, ...] | UnsetType | None, Several(Text())] = UNSET
    hsts_max_age: Annotated[int | UnsetType | None, Integer(0)] = UNSET
    hsts_include_subdomains: OptionalFlag = UNSET
    hsts_preload: OptionalFlag = UNSET


class NewListener(ListenerUpdate, frozen=True, kw_only=True):
    protocol: Annotated[ListenerProtocol, Choice(ListenerProtocol)]
    protocol_port: Annotated[int, Integer(1, 65535)]
    l7policies: Annotated[tuple[NewL7Policy, ...] | UnsetType | None, Several(Nested(NewL7Policy))] = UNSET


class ListenerCreate(NewListener, frozen=True, kw_only=True):
    loadbalancer_id: Annotated[str, Uuid()]
    project_id: ProjectId = UNSET
    tenant_id: ProjectId = UNSET


class ListenerShown(Shown, frozen=True, kw_only=True):
    """Every attribute of the v2 API."""

    description: str
    protocol: str
    protocol_port: int
    connection_limit: int | None
    default_pool_id: str | None
    insert_headers: dict[str, str]
    timeout_client_data: int
    timeout_member_connect: int
    timeout_member_data: int
    timeout_tcp_inspect: int
    allowed_cidrs: tuple[str, ...] | None
    loadbalancers: tuple[Id, ...] | UnsetType
    l7policies: tuple[Any, ...]
    default_tls_container_ref: str | None
    sni_container_refs: tuple[str, ...]
    client_ca_tls_container_ref: str | None
    client_authentication: str
    client_crl_container_ref: str | None
    tls_ciphers: str | None
    tls_versions: tuple[str, ...] | None
    alpn_protocols: tuple[str, ...] | None
    hsts_max_age: int | None
    hsts_include_subdomains: bool
    hsts_preload: bool


TLS_COLUMNS = (
    "default_tls_container_ref",
    "client_ca_tls_container_ref",
    "client_authentication",
    "client_crl_container_ref",
    "tls_ciphers",
    "hsts_max_age",
    "hsts_include_subdomains",
    "hsts_preload",
)
_SAME = (
    "description",
    "protocol",
    "protocol_port",
    "connection_limit",
    "default_pool_id",
    "insert_headers",
    *TIMEOUTS,
    "allowed_cidrs",
    *TLS_COLUMNS,
    "sni_container_refs",
    "tls_versions",
    "alpn_protocols",
)


def show_listener(view: ListenerView, l7policies: Sequence[Any] | None = None) -> ListenerShown:
    """Return what the API shows; inside its load balancer with whole policies, and without the reference to that."""
    listener = view.resource
    own = {name: getattr(listener, name) for name in _SAME}
    parents = (Id(listener.load_balancer_id),) if l7policies is None else UNSET
    shown = list_ids(view.l7policy_ids) if l7policies is None else tuple(l7policies)
    return ListenerShown(**list_common(listener), **own, loadbalancers=parents, l7policies=shown)


COLLECTION = Collection(
    kind=Listener,
    singular="listener",
    plural="listeners",
    target="listener",
    columns=COMMON_COLUMNS
    | same_columns("description", "protocol", "protocol_port", "connection_limit", "default_pool_id", *TIMEOUTS)
    | same_columns(*TLS_COLUMNS)
    | {"loadbalancer_id": "load_balancer_id", "load_balancer_id": "load_balancer_id"},
    show=show_listener,
)


def build_listener(wire: NewListener, owner: Place, settings: ApiSettings, **more: Any) -> Listener:
    """Return the listener that a create request asks for. Raises `Refused`."""
    check_listener_options(wire, wire.protocol, is_new=True)
    if wire.protocol == ListenerProtocol.PROMETHEUS and not settings.allow_prometheus_listeners:
        raise _invalid(f"The selected protocol is not allowed in this deployment: {wire.protocol}")
    defaults = {name: getattr(settings, name) for name in TIMEOUTS}
    nulls = NULLS_ON_CREATE | defaults | {"insert_headers": {}} | LISTENER_NULLS
    given = defaults | _list_listener(wire, nulls)
    _check_headers(given.get("insert_headers", {}), wire.protocol, is_new=True)
    owned = {"project_id": owner.project_id, "load_balancer_id": owner.load_balancer_id}
    if wire.client_authentication is None:
        raise Refused(Refusal.INVALID, "None is not a valid option for client_authentication")
    listener = fill_listener_terms(Listener(**({"id": new_id()} | given | owned | more)), settings.tls)
    check_hsts(wire, listener, is_new=True)
    check_listener_tls(listener, settings.tls)
    return listener


def change_listener(wire: ListenerUpdate, settings: ApiSettings) -> Change[Listener]:
    """Return what an update request makes of the stored listener."""
    defaults = {name: getattr(settings, name) for name in TIMEOUTS}
    given = _list_listener(
        wire, NULLS_ON_UPDATE | defaults | {"insert_headers": {}, "connection_limit": -1} | LISTENER_NULLS
    )

    def change(listener: Listener) -> Listener:
        check_listener_options(wire, listener.protocol, is_new=False)
        _check_headers(given.get("insert_headers", {}), listener.protocol, is_new=False)
        wanted = fill_listener_terms(msgspec.structs.replace(listener, **given), settings.tls)
        if wire.client_authentication is None and not wanted.client_ca_tls_container_ref:
            raise _invalid("None is not a valid option for client_authentication")
        check_hsts(wire, wanted, is_new=False)
        check_listener_tls(wanted, settings.tls)
        return wanted

    return change


def _list_listener(wire: ListenerUpdate, nulls: dict[str, Any]) -> dict[str, Any]:
    given = list_kept(wire, nulls, Listener.__struct_fields__)
    if "allowed_cidrs" in given:
        given["allowed_cidrs"] = tuple(dict.fromkeys(given["allowed_cidrs"] or ())) or None
    return given


def _check_headers(headers: dict[str, str], protocol: ListenerProtocol, *, is_new: bool) -> None:
    if not headers:
        return
    if protocol not in (ListenerProtocol.HTTP, ListenerProtocol.TERMINATED_HTTPS):
        raise _invalid(f"insert-headers is not a valid option for a {protocol} protocol listener.")
    unknown = [name for name in headers if name not in HTTP_HEADERS + CERTIFICATE_HEADERS]
    if unknown:
        shown = f"dict_keys({unknown})" if is_new else str(unknown)
        raise _invalid(f"{shown} is not a valid option for insert_headers")
    certified = [name for name in headers if name in CERTIFICATE_HEADERS]
    if certified and protocol != ListenerProtocol.TERMINATED_HTTPS:
        raise _invalid(f"{certified} is not a valid option for {protocol} protocol listener.")


def _invalid(sentence: str) -> Refused:
    return Refused(Refusal.INVALID, sentence)


# Operations


OPERATIONS = Operations(collection=COLLECTION, delete=delete_listener, word="Listener")


async def accept_create(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(ListenerCreate, "listener_", "listener")
    balancer = await find(call, LoadBalancer, wire.loadbalancer_id, "listener:post")
    listener = build_listener(wire, balancer, call.room.settings.api, created_at=call.room.clock.now())
    await check_listener_secrets(call, wire)
    below = list_policy_edits(wire.l7policies or (), listener, call.room.clock.now())
    decide = join_edits([create_listener(listener, call.terms()), *below])
    tree = await call.edit(balancer.id, decide, f"Listener {listener.id} created.")
    return answer_json({"listener": show_listener(view_of_listener(tree, listener.id))}, 201)


async def accept_update(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(ListenerUpdate, "listener_", "listener")
    listener = await OPERATIONS.find(call, "put")
    change = change_listener(wire, call.room.settings.api)
    stored = await load_view(call.room.store, Listener, listener.id) if names_authority(wire, *AUTHORITY) else None
    await check_listener_secrets(call, wire, None if stored is None else cast(Listener, stored.resource))
    decide = update_listener(listener.id, change, call.terms())
    tree = await call.edit(listener.load_balancer_id, decide, f"Listener {listener.id} updated.")
    return answer_json({"listener": show_listener(view_of_listener(tree, listener.id))})


ROUTES = make_routes(
    COLLECTION,
    ListenerShown,
    listed=OPERATIONS.accept_list,
    shown=OPERATIONS.accept_show,
    created=(accept_create, ListenerCreate),
    updated=(accept_update, ListenerUpdate),
    deleted=OPERATIONS.accept_delete,
)
