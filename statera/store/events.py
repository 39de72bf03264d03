"""The history of a load balancer: edits, actions, failures, bounded in number."""

import msgspec
import sqlalchemy as sa

from statera.base.ids import is_uuid
from statera.model.work import Event
from statera.store.engine import Store
from statera.store.rows import encode_told, json_list, json_object, recordset
from statera.store.tables import events

FOR_EVER_S = 1e9
REMEMBER_GONE_S = 86_400.0
"""How long the history of a load balancer that is gone is kept: for the operator who looks the day after."""

_FIELDS = ", ".join(Event.__struct_fields__)
INSERT_EVENTS = f"""
    INSERT INTO events ({_FIELDS}) SELECT {_FIELDS} FROM {recordset(events, Event.__struct_fields__)}
"""
"""SQL that adds the events in the parameter `rows`, as `encode_told` makes it; `, held` makes it follow a fence."""
_ADD = sa.text(INSERT_EVENTS)


async def add_event(store: Store, event: Event) -> None:
    """Add one line to a load balancer's history."""
    await store.execute(_ADD, {"rows": encode_told([event])})


async def list_events(store: Store, load_balancer_id: str, limit: int = 100) -> tuple[Event, ...]:
    """Return the newest events, newest first."""
    if not is_uuid(load_balancer_id):
        return ()
    newest = (
        sa.select(json_object(events, Event).label("item"))
        .where(events.c.load_balancer_id == load_balancer_id)
        .order_by(events.c.id.desc())
        .limit(limit)
        .subquery()
    )
    rows = await store.execute(sa.select(sa.cast(json_list(newest.c.item), sa.Text)))
    return msgspec.json.decode(rows[0][0], type=tuple[Event, ...])


_TRIM = sa.text("""
    WITH trimmed AS (
        DELETE FROM events
        USING (
            SELECT id, row_number() OVER (PARTITION BY load_balancer_id ORDER BY id DESC) AS place FROM events
        ) AS ranked
        WHERE events.id = ranked.id AND (
            ranked.place > :keep
            OR events.at < now() - make_interval(secs => :age_s)
            OR events.at < now() - make_interval(secs => :gone_s)
                AND NOT EXISTS (SELECT FROM load_balancers WHERE load_balancers.id = events.load_balancer_id)
        )
        RETURNING 1
    )
    SELECT count(*) FROM trimmed
""")


async def trim_events(store: Store, keep: int, *, age_s: float = FOR_EVER_S, gone_s: float = REMEMBER_GONE_S) -> int:
    """Keep the newest `keep` events of each load balancer, no older ones, none of one that is gone for long.

    Return how many went.
    """
    rows = await store.execute(_TRIM, {"keep": keep, "age_s": age_s, "gone_s": gone_s})
    return int(rows[0][0])
