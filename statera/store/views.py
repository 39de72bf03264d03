"""Reading for the API: one object or a page of a list, each with the ids of its neighbours, in one statement."""

import datetime as dt
import ipaddress
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by

from statera.base.errors import Refusal, Refused
from statera.base.ids import is_uuid
from statera.model.amphora import Amphora
from statera.model.catalog import AvailabilityZone, AvailabilityZoneProfile, Flavor, FlavorProfile
from statera.model.listing import ListQuery, Scalar, SortKey, TagFilter
from statera.model.quota import Quota
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Resource
from statera.model.views import (
    AmphoraView,
    AvailabilityZoneProfileView,
    AvailabilityZoneView,
    FlavorProfileView,
    FlavorView,
    HealthMonitorView,
    L7PolicyView,
    L7RuleView,
    ListenerView,
    LoadBalancerView,
    MemberView,
    PoolView,
    QuotaView,
    RecordView,
    View,
)
from statera.store.engine import Store
from statera.store.rows import json_list, json_object
from statera.store.tables import (
    RECORD_TABLE_OF,
    TABLE_OF,
    amphorae,
    health_monitors,
    l7policies,
    l7rules,
    listeners,
    load_balancers,
    members,
    pools,
)

V = TypeVar("V", bound=View)

Kind = type[msgspec.Struct]
Element = sa.ColumnElement[Any]


class Page(msgspec.Struct, frozen=True):
    """Part of a list in its order. `has_more`: further objects follow, or with `reverse` precede, those of the page."""

    items: tuple[View | RecordView, ...]
    has_more: bool


_TABLES = dict[Kind, sa.Table]((*TABLE_OF.items(), *RECORD_TABLE_OF.items(), (Amphora, amphorae)))
_VIEW_OF: dict[Kind, Any] = {
    LoadBalancer: LoadBalancerView,
    Listener: ListenerView,
    Pool: PoolView,
    Member: MemberView,
    HealthMonitor: HealthMonitorView,
    L7Policy: L7PolicyView,
    L7Rule: L7RuleView,
    Amphora: AmphoraView,
    FlavorProfile: FlavorProfileView,
    Flavor: FlavorView,
    AvailabilityZoneProfile: AvailabilityZoneProfileView,
    AvailabilityZone: AvailabilityZoneView,
    Quota: QuotaView,
}


def _ids(child: sa.Table, parent: Element, own: Element) -> Element:
    ordered = aggregate_order_by(child.c.id, child.c.created_at, child.c.id)
    found = sa.select(sa.func.json_agg(ordered)).where(own == parent)
    return sa.func.coalesce(found.scalar_subquery(), sa.literal_column("'[]'::json"))


def _policy_ids() -> Element:
    # As `Tree.list_l7policies` orders them.
    place = (l7policies.c.position, l7policies.c.deleting, l7policies.c.created_at, l7policies.c.id)
    ordered = aggregate_order_by(l7policies.c.id, *place)
    found = sa.select(sa.func.json_agg(ordered)).where(l7policies.c.listener_id == listeners.c.id)
    return sa.func.coalesce(found.scalar_subquery(), sa.literal_column("'[]'::json"))


def _user_ids() -> Element:
    # As `Tree.list_listeners_using`: by default, or by an enabled policy that has rules.
    ruled = sa.exists().where(l7rules.c.l7policy_id == l7policies.c.id, ~l7rules.c.deleting)
    redirecting = sa.select(l7policies.c.listener_id).where(
        l7policies.c.redirect_pool_id == pools.c.id, l7policies.c.admin_state_up, ~l7policies.c.deleting, ruled
    )
    ordered = aggregate_order_by(listeners.c.id, listeners.c.created_at, listeners.c.id)
    found = sa.select(sa.func.json_agg(ordered)).where(
        listeners.c.load_balancer_id == pools.c.load_balancer_id,
        (listeners.c.default_pool_id == pools.c.id) | listeners.c.id.in_(redirecting),
    )
    return sa.func.coalesce(found.scalar_subquery(), sa.literal_column("'[]'::json"))


def _wanted_monitor() -> Element:
    # One that is being deleted no longer counts, as in `Tree.find_health_monitor`.
    found = sa.select(health_monitors.c.id).where(health_monitors.c.pool_id == pools.c.id, ~health_monitors.c.deleting)
    return found.limit(1).scalar_subquery()


def _of_owner(column: Element) -> Element:
    """Return an attribute of the load balancer that an amphora belongs to."""
    return sa.select(column).where(load_balancers.c.id == amphorae.c.load_balancer_id).scalar_subquery()


_NEIGHBOURS: dict[Kind, dict[str, Element]] = {
    LoadBalancer: {
        "listener_ids": _ids(listeners, load_balancers.c.id, listeners.c.load_balancer_id),
        "pool_ids": _ids(pools, load_balancers.c.id, pools.c.load_balancer_id),
    },
    Listener: {"l7policy_ids": _policy_ids()},
    Pool: {
        "listener_ids": _user_ids(),
        "member_ids": _ids(members, pools.c.id, members.c.pool_id),
        "health_monitor_id": _wanted_monitor(),
    },
    L7Policy: {"rule_ids": _ids(l7rules, l7policies.c.id, l7rules.c.l7policy_id)},
    Amphora: {"vip": _of_owner(load_balancers.c.vip)},
}
"""What a view has beyond the resource: attribute of the view struct to SQL. A new neighbour adds its line here."""

_VIPS: dict[str, Element] = {
    f"vip_{field}": load_balancers.c.vip[field].astext for field in ("address", "subnet_id", "network_id", "port_id")
}
_OWN_PORT = amphorae.c.ports[0]
"""The one on the VIP's network stands first."""
_DERIVED: dict[Kind, dict[str, Element]] = {
    LoadBalancer: _VIPS,
    Pool: {"health_monitor_id": _wanted_monitor()},
    Amphora: {
        "project_id": _of_owner(load_balancers.c.project_id),
        "ha_ip": _of_owner(load_balancers.c.vip["address"].astext),
        "ha_port_id": _of_owner(load_balancers.c.vip["port_id"].astext),
        "vrrp_ip": _OWN_PORT["addresses"][0]["address"].astext,
        "vrrp_port_id": _OWN_PORT["id"].astext,
    },
}
"""Names to filter and sort by that are no columns."""


def _key(kind: Kind) -> sa.Column[Any]:
    """Return the column that tells objects apart: the id, or of some the name or the project."""
    return next(iter(_TABLES[kind].primary_key.columns))


_BY_UUID = frozenset(kind for kind in _TABLES if isinstance(_key(kind).type, sa.Uuid))


def _item(kind: Kind) -> Element:
    pairs: list[Any] = [sa.literal_column("'resource'"), json_object(_TABLES[kind], kind)]
    for attribute, element in _NEIGHBOURS.get(kind, {}).items():
        pairs += [sa.literal_column(f"'{attribute}'"), element]
    return sa.func.json_build_object(*pairs)


_LOAD = {
    kind: sa.select(sa.cast(_item(kind), sa.Text)).where(_key(kind) == sa.bindparam("id", type_=_key(kind).type))
    for kind in _TABLES
}


async def load_view(store: Store, kind: type[Resource] | type[Amphora], object_id: str) -> View | None:
    """Return one object with the ids of its neighbours, None when there is none (or the id is no UUID)."""
    return await _load(store, kind, object_id)  # type: ignore[return-value]


async def load_record(store: Store, kind: Kind, key: str) -> RecordView | None:
    """Return what stands below no load balancer, None when there is none."""
    return await _load(store, kind, key)  # type: ignore[return-value]


async def _load(store: Store, kind: Kind, key: str) -> View | RecordView | None:
    if not _is_key(kind, key):
        return None
    rows = await store.execute(_LOAD[kind], {"id": key})
    return msgspec.json.decode(rows[0][0], type=_VIEW_OF[kind]) if rows else None


def _is_key(kind: Kind, text: str) -> bool:
    return is_uuid(text) if kind in _BY_UUID else _storable(text)


async def list_views(store: Store, kind: Kind, query: ListQuery) -> Page:
    """Return one page of a list.

    A `marker` must be an object of the same project and parent; it need not match the filters (any more). Names beyond
    the struct's attributes: `vip_address`, `vip_subnet_id`, `vip_network_id`, `vip_port_id`, and on pools
    `health_monitor_id`. Raises `Refused` (INVALID) for an unknown marker, sort key or filter.
    """
    table = _TABLES[kind]
    backwards = query.reverse and query.marker is not None
    order = _order(kind, query.sort)
    scope = _scope(table, query)
    statement = sa.select(_item(kind).label("item")).where(*scope, *_filters(kind, query))
    known: Element = sa.true()
    if query.marker is not None:
        if not _is_key(kind, query.marker):
            raise _unknown_marker(query.marker)
        marked = _marked(table, order, [*scope, _key(kind) == query.marker])
        statement = statement.where(_follows(order, marked, backwards))
        known = sa.exists(sa.select(marked.c.k0))
    statement = statement.order_by(*(key.direction(backwards) for key in order))
    if query.limit is not None:
        statement = statement.limit(query.limit + 1)
    page = statement.subquery()
    rows = await store.execute(sa.select(known, sa.cast(json_list(page.c.item), sa.Text)).select_from(page))
    marker_known, text = rows[0]
    if not marker_known:
        raise _unknown_marker(query.marker or "")
    items = _decode_all(kind, text)
    has_more = query.limit is not None and len(items) > query.limit
    items = items[: query.limit]
    return Page(items=tuple(reversed(items) if backwards else items), has_more=has_more)


def _decode_all(kind: Kind, text: str) -> list[View | RecordView]:
    view: Any = _VIEW_OF[kind]
    return msgspec.json.decode(text, type=list[view])


def _unknown_marker(marker: str) -> Refused:
    return Refused(Refusal.INVALID, f"Supplied pagination marker '{marker}' is not valid.")


class _Key:
    """One sort key. NULL sorts after every value, so first when descending, as PostgreSQL does by default."""

    def __init__(self, element: Element, descending: bool, nullable: bool) -> None:
        self.element, self.descending, self.nullable = element, descending, nullable

    def direction(self, backwards: bool) -> sa.UnaryExpression[Any]:
        return self.element.desc() if self.descending != backwards else self.element.asc()

    def equals(self, value: Element) -> Element:
        return self.element.is_not_distinct_from(value) if self.nullable else self.element == value

    def follows(self, value: Element, backwards: bool) -> Element:
        """Say whether a row comes after the one with `value` in this key alone."""
        if self.descending != backwards:
            beyond = self.element < value
            return sa.or_(beyond, value.is_(None) & self.element.is_not(None)) if self.nullable else beyond
        beyond = self.element > value
        return sa.or_(beyond, self.element.is_(None) & value.is_not(None)) if self.nullable else beyond


def _order(kind: Kind, sort: Sequence[SortKey]) -> list[_Key]:
    keys: dict[str, _Key] = {}
    # The last key makes any order total: without it two equal rows could both be skipped at a page's border.
    age = [SortKey("created_at")] if "created_at" in kind.__struct_fields__ else []
    for key in (*sort, *age, SortKey(_key(kind).name)):
        element = _element(kind, key.field)
        if element is None:
            raise Refused(Refusal.INVALID, f"Supplied sort key '{key.field}' is not valid.")
        nullable = not isinstance(element, sa.Column) or bool(element.nullable)
        keys.setdefault(key.field, _Key(element, key.descending, nullable))
    return list(keys.values())


def _element(kind: Kind, field: str) -> Element | None:
    derived = _DERIVED.get(kind, {}).get(field)
    if derived is not None:
        return derived
    column = _TABLES[kind].c[field] if field in kind.__struct_fields__ else None
    return None if column is None or isinstance(column.type, JSONB | ARRAY) else column


def _marked(table: sa.Table, order: Sequence[_Key], conditions: Sequence[Element]) -> sa.CTE:
    columns = [key.element.label(f"k{place}") for place, key in enumerate(order)]
    return sa.select(*columns).select_from(table).where(*conditions).cte("marked")


def _follows(order: Sequence[_Key], marked: sa.CTE, backwards: bool) -> Element:
    values = [sa.select(marked.c[f"k{place}"]).scalar_subquery() for place in range(len(order))]
    if not any(key.nullable for key in order) and len({key.descending for key in order}) == 1:
        # One comparison of rows, which an index can answer.
        own, other = sa.tuple_(*(key.element for key in order)), sa.tuple_(*values)
        return own < other if order[0].descending != backwards else own > other
    branches = [
        sa.and_(
            *(before.equals(values[place]) for place, before in enumerate(order[:turn])), key.follows(value, backwards)
        )
        for turn, (key, value) in enumerate(zip(order, values, strict=True))
    ]
    return sa.or_(*branches)


def _scope(table: sa.Table, query: ListQuery) -> list[Element]:
    conditions: list[Element] = []
    if query.project_id is not None:
        project_id = _DERIVED[Amphora]["project_id"] if table is amphorae else table.c.project_id
        conditions.append(_equals(project_id, query.project_id))
    if query.parent_id is not None:
        conditions.append(_equals(table.c[_PARENT[table.name]], query.parent_id))
    return conditions


_PARENT = {members.name: "pool_id", l7rules.name: "l7policy_id"}
"""What lists below a parent are narrowed by."""


def _filters(kind: Kind, query: ListQuery) -> list[Element]:
    conditions: list[Element] = []
    for field, value in query.filters.items():
        element = _element(kind, field)
        if element is None:
            raise Refused(Refusal.INVALID, "One or more arguments are either duplicate or invalid")
        conditions.append(_equals(element, value))
    if query.tags and "tags" not in _TABLES[kind].c:
        raise Refused(Refusal.INVALID, "One or more arguments are either duplicate or invalid")
    return conditions + [_tagged(_TABLES[kind].c.tags, wanted) for wanted in query.tags]


def _equals(element: Element, value: Scalar) -> Element:
    if value is None:
        return element.is_(None)
    if isinstance(element.type, sa.DateTime):
        return _at(element, value)
    for wanted, convert in _CONVERTED:
        if isinstance(element.type, wanted):
            converted = convert(value)
            # No row holds what its column cannot hold; asking would be an error.
            return sa.false() if converted is None else element == converted
    return sa.false()


def _at(element: Element, value: Scalar) -> Element:
    # The API shows whole seconds of UTC, without saying so.
    try:
        at = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return sa.false()
    at = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    return element == at if at.microsecond else sa.func.date_trunc("second", element) == at


def _to_uuid(value: Scalar) -> str | None:
    return str(uuid.UUID(str(value))) if is_uuid(str(value)) else None


def _to_text(value: Scalar) -> str | None:
    text = str(value)
    if not _storable(text):
        return None
    try:
        # The API writes addresses in their canonical form.
        return str(ipaddress.ip_address(text)) if ":" in text else text
    except ValueError:
        return text


def _storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _to_integer(value: Scalar) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31
    return int(value) if fits else None  # type: ignore[arg-type]


def _to_float(value: Scalar) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _to_bool(value: Scalar) -> bool | None:
    return value if isinstance(value, bool) else None


_CONVERTED: tuple[tuple[type[sa.types.TypeEngine[Any]], Callable[[Scalar], Any]], ...] = (
    (sa.Uuid, _to_uuid),
    (sa.Text, _to_text),
    (sa.Boolean, _to_bool),
    (sa.Float, _to_float),
    (sa.Integer, _to_integer),
)


def _tagged(column: Element, wanted: TagFilter) -> Element:
    tags = sa.cast([tag for tag in wanted.tags if _storable(tag)], ARRAY(sa.Text))
    impossible = not all(_storable(tag) for tag in wanted.tags)
    match wanted.kind:
        case "tags":
            return sa.false() if impossible else column.bool_op("@>")(tags)
        case "tags-any":
            return column.bool_op("&&")(tags)
        case "not-tags":
            return sa.true() if impossible else ~column.bool_op("@>")(tags)
        case "not-tags-any":
            return ~column.bool_op("&&")(tags)
