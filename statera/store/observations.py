"""What health has seen: statuses with reasons, written only when they are news. And when certificates end, to see."""

import datetime as dt
from collections.abc import Collection, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.model.status import StatusChange
from statera.model.tree import LoadBalancer, Resource
from statera.store.engine import Store
from statera.store.rows import among, encode_told
from statera.store.tables import TABLE_OF, load_balancers

MOST_TOLD = 20
"""Events of one kind for one load balancer and write: a pool of a thousand members must not push out its history."""


_ENDS = sa.text(f"""
    SELECT id, certificate_ends FROM {load_balancers.name} WHERE {among(load_balancers.name)}
""")


async def list_certificate_ends(store: Store, ids: Collection[str]) -> dict[str, dict[str, dt.datetime]]:
    """Return when the certificates of these load balancers end, by reference. Raises `Transient`."""
    rows = await store.execute(_ENDS, {"ids": list(ids)})
    return {str(row.id): msgspec.convert(row.certificate_ends, dict[str, dt.datetime]) for row in rows}


async def save_statuses(store: Store, changes: Sequence[StatusChange]) -> None:
    """Write operating statuses with their reasons, and an event for each status that changed. Gone objects are skipped.

    A reason that the object shows already for a pending or failed change is not taken over: it goes when that settles.
    """
    if not changes:
        return

    async def work(connection: AsyncConnection) -> None:
        ids = [change.id for change in changes]
        await connection.execute(_LOCK, {"ids": ids})
        for kind in TABLE_OF:
            rows = [_row(change) for change in changes if change.kind is kind]
            if rows:
                values = {"rows": encode_told(rows), "kind": kind.__name__, "ids": [row["id"] for row in rows]}
                await connection.execute(_SAVE[kind], values)

    await store.run(work)


def _row(change: StatusChange) -> dict[str, object]:
    return {"id": change.id, "status": change.operating_status, "reason": change.reason}


def _lock_statement() -> sa.TextClause:
    owners = " UNION ".join(
        f"SELECT {_owner(kind)} FROM {table.name} WHERE id = ANY(CAST(:ids AS uuid[]))"
        for kind, table in TABLE_OF.items()
    )
    return sa.text(f"SELECT id FROM load_balancers WHERE id IN ({owners}) ORDER BY id FOR UPDATE")


def _owner(kind: type[Resource]) -> str:
    return "id" if kind is LoadBalancer else "load_balancer_id"


def _save_statement(kind: type[Resource]) -> sa.TextClause:
    table = TABLE_OF[kind]
    return sa.text(f"""
        WITH fresh AS (
            SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS fresh (id uuid, status text, reason jsonb)
        ), known AS (
            SELECT id, operating_status FROM {table.name} WHERE {among(table.name)}
        ), written AS (
            UPDATE {table.name} AS target
            SET operating_status = fresh.status,
                operating_reason = CASE
                    WHEN fresh.reason ->> 'slug' = target.reason ->> 'slug' THEN target.operating_reason
                    ELSE fresh.reason END
            FROM fresh WHERE target.id = fresh.id AND {among("target")}
            RETURNING
                target.id, target.{_owner(kind)} AS owner, target.changed_at_generation, fresh.status, fresh.reason
        ), news AS (
            SELECT *, row_number() OVER (PARTITION BY owner ORDER BY id) - {MOST_TOLD} AS beyond,
                count(*) OVER (PARTITION BY owner) - {MOST_TOLD} AS left_out
            FROM written JOIN known USING (id) WHERE status <> known.operating_status
        )
        INSERT INTO events (load_balancer_id, generation, what, reason, at, actor)
        SELECT owner, changed_at_generation,
            CASE WHEN beyond <= 0
                THEN CAST(:kind AS text) || ' ' || id || ' is ' || status || ', was ' || operating_status
                ELSE left_out || ' more of kind ' || CAST(:kind AS text) || ' changed at the same time' END,
            CASE WHEN beyond <= 0 THEN reason END, clock_timestamp(), 'health'
        FROM news WHERE beyond <= 1 ORDER BY beyond DESC
    """)


_LOCK = _lock_statement()
_SAVE = {kind: _save_statement(kind) for kind in TABLE_OF}
