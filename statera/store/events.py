"""The history of a load balancer: edits, actions, failures, bounded in number."""

import sqlalchemy as sa

from statera.model.work import Event
from statera.store.engine import Store
from statera.store.rows import plain, struct_of
from statera.store.tables import events


async def add_event(store: Store, event: Event) -> None:
    """Add one line to a load balancer's history."""
    values = {field: plain(getattr(event, field), events.c[field]) for field in event.__struct_fields__}
    async with store.write() as connection:
        await connection.execute(sa.insert(events).values(values))


async def list_events(store: Store, load_balancer_id: str, limit: int = 100) -> tuple[Event, ...]:
    """Return the newest events, newest first."""
    columns = [events.c[field] for field in Event.__struct_fields__]
    statement = sa.select(*columns).where(events.c.load_balancer_id == load_balancer_id)
    async with store.read() as connection:
        rows = await connection.execute(statement.order_by(events.c.id.desc()).limit(limit))
        return tuple(struct_of(Event, row._mapping) for row in rows)


async def trim_events(store: Store, keep: int) -> int:
    """Keep the newest `keep` events of each load balancer; return how many went."""
    numbered = sa.select(
        events.c.id,
        sa.func.row_number().over(partition_by=events.c.load_balancer_id, order_by=events.c.id.desc()).label("n"),
    ).subquery()
    statement = sa.delete(events).where(events.c.id.in_(sa.select(numbered.c.id).where(numbered.c.n > keep)))
    async with store.write() as connection:
        return (await connection.execute(statement)).rowcount
