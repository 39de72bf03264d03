"""`statera amphora`: what operators ask of amphorae, straight from the database; workers do what is wanted there."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import msgspec
from rich.table import Column, Table

from statera.app import open_store
from statera.base.clock import SystemClock
from statera.base.errand import Errand, new_request_id, on_errand
from statera.base.errors import Refusal, Refused
from statera.base.settings import Settings
from statera.cli.tables import SHORT_ID_WIDTH, id_column, print_json, print_table, short
from statera.model.amphora import Amphora
from statera.model.edits import Terms, fail_over_amphora
from statera.model.listing import ListQuery
from statera.model.statistics import AmphoraTraffic
from statera.model.views import AmphoraView
from statera.store.amphorae import list_amphora_ids
from statera.store.engine import Store
from statera.store.statistics import list_amphora_traffic
from statera.store.trees import TreeEditor
from statera.store.views import list_views, load_view

T = TypeVar("T")
ACTOR = "operator"


def print_amphorae(
    settings: Settings, *, host: str = "", load_balancer_id: str = "", ids: bool = False, form: str = "text"
) -> None:
    """Print a table of all amphorae, or of those of one host or load balancer; with `ids` only their ids."""
    filters = {"host": host, "load_balancer_id": load_balancer_id}
    query = ListQuery(filters={name: value for name, value in filters.items() if value})

    async def load(store: Store) -> list[AmphoraView]:
        return cast(list[AmphoraView], list((await list_views(store, Amphora, query)).items))

    found = _run(settings, load)
    if ids:
        print("\n".join(view.resource.id for view in found))
        return
    if form == "json":
        print_json([_tell(view) for view in found])
        return
    whose = Column("load balancer", min_width=SHORT_ID_WIDTH)
    table = Table(id_column("amphora"), whose, *("host", "role", "status", "VIP", "has it", "heard"), box=None)
    for column in table.columns[2:]:
        column.no_wrap = True
    for view in found:
        row = view.resource
        heard = _tell_age(row.last_heartbeat_at)
        vip = view.vip.address if view.vip is not None else ""
        owner, role = (row.load_balancer_id, row.role.value) if row.load_balancer_id else ("", "spare")
        table.add_row(row.id, short(owner), row.host, role, row.status, vip, _tell_held(row), heard)
    print_table(table)


def print_amphora(settings: Settings, amphora_id: str, *, form: str = "text") -> None:
    """Print all that is known of one amphora, and what each listener has carried on it."""

    async def load(store: Store) -> tuple[AmphoraView, tuple[AmphoraTraffic, ...]]:
        view = await _load(store, amphora_id)
        return view, await list_amphora_traffic(store, view.resource.id)

    view, traffic = _run(settings, load)
    if form == "json":
        print_json({**_tell(view), "listeners": traffic})
        return
    row = view.resource
    about = Table("", "", box=None, show_header=False)
    about.add_row("amphora", row.id)
    about.add_row("load balancer", row.load_balancer_id)
    about.add_row("host", row.host)
    about.add_row("role, status", f"{row.role}, {row.status}")
    about.add_row("VIP", view.vip.address if view.vip is not None else "none: it is a spare")
    if row.has_vips is not None:
        about.add_row("has the VIP", _tell_held(row))
    for port in row.ports:
        about.add_row("port", f"{port.id}  {', '.join(place.address for place in port.addresses)}")
    about.add_row("created", row.created_at.isoformat(sep=" ", timespec="seconds"))
    about.add_row("heard", _tell_age(row.last_heartbeat_at))
    if row.reason is not None:
        about.add_row("reason", row.reason.sentence)
    print_table(about)
    table = Table("listener", "connections", "in all", "bytes in", "bytes out", "bad requests", box=None)
    for one in traffic:
        counters = (one.active_connections, one.total_connections, one.bytes_in, one.bytes_out, one.request_errors)
        table.add_row(one.listener_id, *(f"{counter:,}" for counter in counters))
    if traffic:
        print_table(table)


def fail_over(settings: Settings, amphora_id: str) -> None:
    """Have an amphora replaced; workers do it. Raises `Refused` (NOT_FOUND, CONFLICT)."""

    async def edit(store: Store) -> str:
        row = (await _load(store, amphora_id)).resource
        if not row.load_balancer_id:
            raise Refused(Refusal.CONFLICT, f"Amphora {row.id} is a spare: it serves no load balancer yet.")
        known = await list_amphora_ids(store, row.load_balancer_id)
        decide = fail_over_amphora(row.id, known, Terms(now=SystemClock().now()))
        what = f"Failover of amphora {row.id} asked for."
        with on_errand(Errand(request_id=new_request_id(), load_balancer_id=row.load_balancer_id)):
            await TreeEditor(store).edit(row.load_balancer_id, decide, actor=ACTOR, what=what)
        return f"Amphora {row.id} of load balancer {row.load_balancer_id} will be replaced."

    print(_run(settings, edit))


async def _load(store: Store, amphora_id: str) -> AmphoraView:
    found = await load_view(store, Amphora, amphora_id)
    if found is None:
        raise Refused(Refusal.NOT_FOUND, f"Amphora {amphora_id} not found.")
    return cast(AmphoraView, found)


def _tell(view: AmphoraView) -> dict[str, Any]:
    told = msgspec.to_builtins(view.resource, builtin_types=(dt.datetime,))
    return {**told, "vip_address": view.vip.address if view.vip is not None else None}


def _tell_held(row: Amphora) -> str:
    """Say whether one that shares the VIP has it now."""
    return "" if row.has_vips is None else "yes" if row.has_vips else "no"


def _tell_age(at: dt.datetime | None) -> str:
    if at is None:
        return "never"
    # Written every few seconds only, and clocks differ.
    return f"{max(0, round((SystemClock().now() - at).total_seconds()))} s ago"


def _run(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        store = open_store(settings)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())
