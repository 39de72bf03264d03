"""Pools and their session persistence."""

from typing import Annotated, Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Call, answer_json
from statera.api.errors import Answer
from statera.api.fields import Address, Choice, Integer, Several, Text
from statera.api.listing import COMMON_COLUMNS, Collection, same_columns
from statera.api.loading import find
from statera.api.operations import Operations
from statera.api.places import Place
from statera.api.routing import make_routes
from statera.api.shown import Id, Shown, list_common, list_ids, view_of_pool
from statera.api.tls import (
    check_authority_stays,
    check_pool_secrets,
    check_pool_tls,
    fill_pool_terms,
    names_authority,
)
from statera.api.wire import (
    NULLS_ON_CREATE,
    NULLS_ON_UPDATE,
    REFUSE,
    Name,
    Nested,
    OptionalFlag,
    OptionalRef,
    OptionalUuid,
    ProjectId,
    Tags,
    Wire,
    list_given,
    list_kept,
)
from statera.base.errors import Refusal, Refused
from statera.base.ids import new_id
from statera.base.settings import ApiSettings
from statera.model.edits import Change, create_pool, delete_pool, update_pool
from statera.model.enums import DATAGRAM_POOL_PROTOCOLS, Algorithm, PersistenceType, PoolProtocol
from statera.model.tree import Listener, LoadBalancer, Pool, SessionPersistence
from statera.model.views import PoolView
from statera.store.views import load_view

AUTHORITY = ("ca_tls_container_ref", "crl_container_ref")
TLS_COLUMNS = ("tls_enabled", "tls_container_ref", *AUTHORITY, "tls_ciphers")
COOKIE_NAME_PATTERN = r"^[^\s,;\\]+$"
_BARRED_IN_COOKIE = frozenset('"(),/:;<=>?@[\\]{}\x7f')


class PersistenceGiven(Wire, frozen=True, kw_only=True):
    type: Annotated[PersistenceType | UnsetType | None, Choice(PersistenceType)] = UNSET
    cookie_name: Annotated[str | UnsetType | None, Text(255, pattern=COOKIE_NAME_PATTERN)] = UNSET
    persistence_timeout: Annotated[int | UnsetType | None, Integer(0)] = UNSET
    persistence_granularity: Annotated[str | UnsetType | None, Address()] = UNSET


class PoolUpdate(Wire, frozen=True, kw_only=True):
    name: Name = UNSET
    description: Name = UNSET
    admin_state_up: OptionalFlag = UNSET
    tags: Tags = UNSET
    lb_algorithm: Annotated[Algorithm | UnsetType | None, Choice(Algorithm)] = UNSET
    session_persistence: Annotated[PersistenceGiven | UnsetType | None, Nested(PersistenceGiven)] = UNSET
    tls_container_ref: OptionalRef = UNSET
    ca_tls_container_ref: OptionalRef = UNSET
    crl_container_ref: OptionalRef = UNSET
    tls_enabled: OptionalFlag = UNSET
    tls_ciphers: Annotated[str | UnsetType | None, Text(2048)] = UNSET
    tls_versions: Annotated[tuple[str, ...] | UnsetType | None, Several(Text(32))] = UNSET
    alpn_protocols: Annotated[tuple[str, ...] | UnsetType | None, Several(Text())] = UNSET


class PoolCreate(PoolUpdate, frozen=True, kw_only=True):
    protocol: Annotated[PoolProtocol, Choice(PoolProtocol)]
    lb_algorithm: Annotated[Algorithm, Choice(Algorithm)]
    loadbalancer_id: OptionalUuid = UNSET
    listener_id: OptionalUuid = UNSET
    project_id: ProjectId = UNSET
    tenant_id: ProjectId = UNSET


class PoolShown(Shown, frozen=True, kw_only=True):
    """Every attribute of the v2 API."""

    description: str
    protocol: str
    lb_algorithm: str
    session_persistence: SessionPersistence | None
    loadbalancers: tuple[Id, ...] | UnsetType
    listeners: tuple[Id, ...]
    members: tuple[Any, ...]
    tls_enabled: bool
    tls_container_ref: str | None
    ca_tls_container_ref: str | None
    crl_container_ref: str | None
    tls_ciphers: str | None
    tls_versions: tuple[str, ...] | None
    alpn_protocols: tuple[str, ...] | None
    healthmonitor_id: str | UnsetType = UNSET
    """The key is absent when there is no monitor."""
    healthmonitor: Any = UNSET
    """The whole monitor or null, in the answer to the creation of a load balancer with its pools."""


def show_pool(view: PoolView) -> PoolShown:
    """Return what the API shows of a pool."""
    pool = view.resource
    return PoolShown(
        **list_pool(pool),
        loadbalancers=(Id(pool.load_balancer_id),),
        listeners=list_ids(view.listener_ids),
        members=list_ids(view.member_ids),
        healthmonitor_id=UNSET if view.health_monitor_id is None else view.health_monitor_id,
    )


def list_pool(pool: Pool) -> dict[str, Any]:
    """Return the values of `PoolShown` that are the pool's own."""
    return list_common(pool) | {
        "description": pool.description,
        "protocol": pool.protocol,
        "lb_algorithm": pool.lb_algorithm,
        "session_persistence": pool.session_persistence,
        **{name: getattr(pool, name) for name in (*TLS_COLUMNS, "tls_versions", "alpn_protocols")},
    }


COLLECTION = Collection(
    singular="pool",
    plural="pools",
    kind=Pool,
    target="pool",
    columns=COMMON_COLUMNS
    | same_columns("description", "protocol", "lb_algorithm")
    | {"loadbalancer_id": "load_balancer_id", "load_balancer_id": "load_balancer_id"}
    | {"healthmonitor_id": "health_monitor_id"}
    | same_columns(*TLS_COLUMNS),
    show=show_pool,
)


def build_pool(wire: PoolUpdate, protocol: PoolProtocol, owner: Place, settings: ApiSettings, **more: Any) -> Pool:
    """Return the pool that a create request asks for. Raises `Refused`."""
    nulls = NULLS_ON_CREATE | {"lb_algorithm": REFUSE, "tls_enabled": False}
    given = list_kept(wire, nulls, Pool.__struct_fields__)
    if isinstance(wire.session_persistence, PersistenceGiven):
        given["session_persistence"] = _build_persistence(wire.session_persistence, None, protocol)
    owned = {"protocol": protocol, "project_id": owner.project_id, "load_balancer_id": owner.load_balancer_id}
    pool = fill_pool_terms(Pool(**({"id": new_id()} | given | owned | more)), settings.tls)
    check_pool_tls(pool, settings.tls, is_new=True)
    return pool


def change_pool(wire: PoolUpdate, settings: ApiSettings) -> Change[Pool]:
    """Return what an update request makes of the stored pool."""
    given = list_kept(wire, NULLS_ON_UPDATE | {"lb_algorithm": REFUSE, "tls_enabled": REFUSE}, Pool.__struct_fields__)

    def change(pool: Pool) -> Pool:
        values = dict(given)
        if isinstance(wire.session_persistence, PersistenceGiven):
            stored = pool.session_persistence
            values["session_persistence"] = _build_persistence(wire.session_persistence, stored, pool.protocol)
        wanted = msgspec.structs.replace(pool, **values)
        wanted = fill_pool_terms(wanted, settings.tls, keeps_alpn=pool.tls_enabled or wire.alpn_protocols is None)
        check_authority_stays(pool, wanted)
        check_pool_tls(wanted, settings.tls, is_new=False)
        return wanted

    return change


def _build_persistence(
    given: PersistenceGiven, stored: SessionPersistence | None, protocol: PoolProtocol
) -> SessionPersistence:
    kind = given.type or (stored.type if stored is not None else None)
    if kind is None:
        raise _invalid("Invalid session_persistence provided.")
    values = list_given(given, {}) | {"type": kind}
    persistence = SessionPersistence(**values)
    _check_persistence(persistence, protocol)
    return persistence


def _check_persistence(persistence: SessionPersistence, protocol: PoolProtocol) -> None:
    cookie = persistence.cookie_name
    if protocol in DATAGRAM_POOL_PROTOCOLS:
        _check_datagram_persistence(persistence)
    if persistence.type == PersistenceType.APP_COOKIE:
        if not cookie:
            raise _invalid(
                'Field "cookie_name" must be specified when using the "APP_COOKIE" session persistence type.'
            )
        if any(character in _BARRED_IN_COOKIE or not " " < character <= "~" for character in cookie):
            raise _invalid('Supplied "cookie_name" is invalid.')
    elif cookie:
        raise _invalid('Field "cookie_name" can only be specified with session persistence of type "APP_COOKIE".')
    ranged = (persistence.persistence_timeout, persistence.persistence_granularity)
    if ranged != (None, None) and protocol not in DATAGRAM_POOL_PROTOCOLS:
        raise _invalid("persistence_timeout and persistence_granularity is only for UDP and SCTP protocol pools.")


def _check_datagram_persistence(persistence: SessionPersistence) -> None:
    if persistence.type != PersistenceType.SOURCE_IP:
        sentence = f"Session persistence of type {persistence.type} is not supported for UDP/SCTP protocol pools."
        raise _invalid("Cookie names are not supported for UDP/SCTP pools." if persistence.cookie_name else sentence)
    if persistence.cookie_name:
        raise _invalid(
            "session_persistence SOURCE_IP type for UDP and SCTP protocols only accepts: type, persistence_timeout, "
            "persistence_granularity."
        )


def _invalid(detail: str) -> Refused:
    return Refused(Refusal.INVALID, f"Validation failure: {detail}")


# Operations


OPERATIONS = Operations(collection=COLLECTION, delete=delete_pool, word="Pool")


async def accept_create(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(PoolCreate, "pool_", "pool")
    owner, listener_id = await _find_owner(call, wire)
    pool = build_pool(wire, wire.protocol, owner, call.room.settings.api, created_at=call.room.clock.now())
    await check_pool_secrets(call, wire)
    tree = await call.edit(
        owner.load_balancer_id, create_pool(pool, listener_id, call.terms()), f"Pool {pool.id} created."
    )
    return answer_json({"pool": show_pool(view_of_pool(tree, pool.id))}, 201)


async def _find_owner(call: Call, wire: PoolCreate) -> tuple[Place, str | None]:
    listener_id = wire.listener_id or None
    if wire.loadbalancer_id:
        return await find(call, LoadBalancer, wire.loadbalancer_id, "pool:post"), listener_id
    if listener_id is None:
        raise _invalid("Must provide at least one of: loadbalancer_id, listener_id")
    return await find(call, Listener, listener_id, "pool:post"), listener_id


async def accept_update(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(PoolUpdate, "pool_", "pool")
    pool = await OPERATIONS.find(call, "put")
    stored = await load_view(call.room.store, Pool, pool.id) if names_authority(wire, *AUTHORITY) else None
    await check_pool_secrets(call, wire, None if stored is None else cast(Pool, stored.resource))
    decide = update_pool(pool.id, change_pool(wire, call.room.settings.api), call.terms())
    tree = await call.edit(pool.load_balancer_id, decide, f"Pool {pool.id} updated.")
    return answer_json({"pool": show_pool(view_of_pool(tree, pool.id))})


ROUTES = make_routes(
    COLLECTION,
    PoolShown,
    listed=OPERATIONS.accept_list,
    shown=OPERATIONS.accept_show,
    created=(accept_create, PoolCreate),
    updated=(accept_update, PoolUpdate),
    deleted=OPERATIONS.accept_delete,
)
