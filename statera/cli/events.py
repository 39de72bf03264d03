"""`statera events`: what happened to a load balancer, and which request asked for it."""

import asyncio

from rich.table import Table

from statera.app import open_store
from statera.base.errors import Refusal, Refused
from statera.base.settings import Settings
from statera.cli.plain import plain
from statera.cli.tables import print_json, print_table
from statera.model.work import Event
from statera.store.events import list_events


def print_events(settings: Settings, load_balancer_id: str, *, limit: int, form: str = "text") -> None:
    """Print the newest events, oldest first. Raises `Refused` (NOT_FOUND) when there is none."""
    events = asyncio.run(_load(settings, load_balancer_id, limit))
    if not events:
        raise Refused(Refusal.NOT_FOUND, f"Nothing is known of a load balancer {load_balancer_id}.")
    if form == "json":
        print_json(events)
        return
    table = Table("when", "gen.", "who", "request", "what", box=None)
    for event in events:
        what = tell_event(event)
        at, generation = f"{event.at:%Y-%m-%d %H:%M:%S}", str(event.generation)
        table.add_row(at, generation, plain(event.actor), event.request_id, plain(what))
    print_table(table)


def tell_event(event: Event) -> str:
    """Return what happened and why, as sentences."""
    if event.reason is None:
        return event.what
    return f"{event.what}{'' if event.what.endswith('.') else ':'} {event.reason.sentence}"


async def _load(settings: Settings, load_balancer_id: str, limit: int) -> tuple[Event, ...]:
    store = open_store(settings)
    try:
        return (await list_events(store, load_balancer_id, limit))[::-1]
    finally:
        await store.close()
