"""Traffic totals: counters of processes that start from zero again and again, added up.

A row holds what a listener has carried on one amphora: the totals, and the last counters they were raised by, so that
the same counters may be told twice, or by two health processes. What an amphora has counted that is gone goes into one
row for all of those (`FORMER`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.ids import is_uuid
from statera.model.enums import AmphoraStatus
from statera.model.heartbeat import ListenerObserved
from statera.model.statistics import AmphoraTraffic, Counted, Traffic
from statera.store.engine import Store
from statera.store.rows import among
from statera.store.tables import COUNTERS, amphorae, listener_statistics, listeners

FORMER = "00000000-0000-0000-0000-000000000000"
MOST_AT_ONCE = 500
"""Amphorae in one transaction."""
MOST = 2**62
"""No total comes near; more than this could not be stored."""
LARGEST = 2**63 - 1
"""Of a column. Whoever lies of his own counters must not fail the statement that has those of others."""

_KEEP = sa.text("SELECT id FROM amphorae WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR KEY SHARE")


def _save_statement() -> sa.TextClause:
    is_same = "mine.process = excluded.process"
    raised = [
        f"{name} = least(mine.{name}, {LARGEST - MOST}) + CASE WHEN {is_same} "
        f"THEN greatest(excluded.last_{name} - mine.last_{name}, 0) ELSE excluded.last_{name} END"
        for name in COUNTERS
    ]
    last = [
        f"last_{name} = CASE WHEN {is_same} THEN greatest(excluded.last_{name}, mine.last_{name}) "
        f"ELSE excluded.last_{name} END"
        for name in COUNTERS
    ]
    told = ("listener_id", "amphora_id", "process", "told_at", "active_connections")
    fresh = [f"fresh.{name}" for name in (*told, *COUNTERS, *COUNTERS)]
    types = ", ".join(f"{name} bigint" for name in ("process", "active_connections", *COUNTERS))
    return sa.text(f"""
        INSERT INTO listener_statistics AS mine (
            {", ".join([*told, *COUNTERS, *(f"last_{name}" for name in COUNTERS)])}
        )
        SELECT {", ".join(fresh)}
        FROM json_to_recordset(CAST(:rows AS json))
            AS fresh (listener_id uuid, amphora_id uuid, told_at timestamptz, {types})
        JOIN amphorae ON amphorae.id = fresh.amphora_id
        JOIN listeners ON listeners.id = fresh.listener_id AND listeners.load_balancer_id = amphorae.load_balancer_id
        WHERE {among("listeners")}
        ORDER BY fresh.listener_id, fresh.amphora_id FOR KEY SHARE OF listeners
        ON CONFLICT (listener_id, amphora_id) DO UPDATE SET
            {", ".join([*raised, *last])},
            process = excluded.process, told_at = excluded.told_at, active_connections = excluded.active_connections
        WHERE mine.told_at < excluded.told_at
    """)


_SAVE = _save_statement()


async def save_counted(store: Store, counted: Iterable[Counted]) -> None:
    """Raise totals by what was counted since the last time. What is older than that, or of nobody, is left out."""
    for batch in _list_batches(sorted(counted, key=lambda one: one.told_at)):
        rows = [row for one in batch for row in _rows(one)]
        values = {"rows": msgspec.json.encode(rows).decode(), "ids": [row["listener_id"] for row in rows]}
        ids = {"ids": [one.amphora_id for one in batch]}

        async def work(connection: AsyncConnection, ids: dict[str, Any] = ids, values: dict[str, Any] = values) -> None:
            # An amphora that is dropped takes its rows along: none may come after that.
            await connection.execute(_KEEP, ids)
            await connection.execute(_SAVE, values)

        await store.run(work)


def _list_batches(counted: Sequence[Counted]) -> list[list[Counted]]:
    """Return the counters in order, so that no batch has two of one amphora: a statement raises a row but once."""
    batches: list[list[Counted]] = []
    turns: dict[str, int] = {}
    for one in counted:
        turn = turns.get(one.amphora_id, 0)
        while turn < len(batches) and len(batches[turn]) >= MOST_AT_ONCE:
            turn += 1
        if turn == len(batches):
            batches.append([])
        batches[turn].append(one)
        turns[one.amphora_id] = turn + 1
    return batches


def _rows(counted: Counted) -> list[dict[str, Any]]:
    told = {"amphora_id": counted.amphora_id, "process": min(counted.process, MOST), "told_at": counted.told_at}
    return [told | _counters(listener) for listener in counted.listeners if is_uuid(listener.id)]


def _counters(listener: ListenerObserved) -> dict[str, Any]:
    counters = {name: min(getattr(listener, name), MOST) for name in (*COUNTERS, "active_connections")}
    return {"listener_id": listener.id, **counters}


_FOLD = sa.text(f"""
    WITH gone AS (DELETE FROM listener_statistics WHERE amphora_id = :id RETURNING *)
    INSERT INTO listener_statistics AS mine (listener_id, amphora_id, process, told_at, {", ".join(COUNTERS)})
    SELECT listener_id, CAST('{FORMER}' AS uuid), 0, told_at, {", ".join(COUNTERS)} FROM gone
    ON CONFLICT (listener_id, amphora_id) DO UPDATE SET
        {", ".join(f"{one} = least(mine.{one}, {LARGEST - MOST}) + least(excluded.{one}, {MOST})" for one in COUNTERS)}
""")


async def fold_amphora(connection: AsyncConnection, amphora_id: str) -> None:
    """Keep the totals of an amphora whose row was deleted in this transaction."""
    await connection.execute(_FOLD, {"id": amphora_id})


def _bounded(total: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.cast(sa.func.least(sa.func.coalesce(total, 0), LARGEST), sa.BigInteger)


_TOTALS = [_bounded(sa.func.sum(listener_statistics.c[name])) for name in COUNTERS]
_ACTIVE = _bounded(
    sa.func.sum(listener_statistics.c.active_connections).filter(amphorae.c.status == AmphoraStatus.ALLOCATED.value)
)
_SUMS = sa.select(
    _ACTIVE.label("active_connections"), *(sa.label(n, t) for n, t in zip(COUNTERS, _TOTALS, strict=True))
)
_SUMS = _SUMS.select_from(
    listener_statistics.join(listeners, listeners.c.id == listener_statistics.c.listener_id).outerjoin(
        amphorae, amphorae.c.id == listener_statistics.c.amphora_id
    )
)


async def load_listener_traffic(store: Store, listener_id: str) -> Traffic:
    """Return a listener's totals over all amphorae, those that are gone too; zeros when nothing was counted."""
    rows = await store.execute(_SUMS.where(listeners.c.id == listener_id))
    return Traffic(**rows[0]._mapping)


async def load_balancer_traffic(store: Store, load_balancer_id: str) -> Traffic:
    """Return the sums over a load balancer's listeners."""
    rows = await store.execute(_SUMS.where(listeners.c.load_balancer_id == load_balancer_id))
    return Traffic(**rows[0]._mapping)


async def list_amphora_traffic(store: Store, amphora_id: str) -> tuple[AmphoraTraffic, ...]:
    """Return what each listener has carried on one amphora, oldest listener first."""
    statement = (
        sa.select(
            sa.cast(listener_statistics.c.amphora_id, sa.Text).label("id"),
            sa.cast(listeners.c.id, sa.Text).label("listener_id"),
            sa.cast(listeners.c.load_balancer_id, sa.Text).label("loadbalancer_id"),
            listener_statistics.c.active_connections,
            *(listener_statistics.c[name] for name in COUNTERS),
        )
        .join(listeners, listeners.c.id == listener_statistics.c.listener_id)
        .where(listener_statistics.c.amphora_id == amphora_id)
        .order_by(listeners.c.created_at, listeners.c.id)
    )
    return tuple(AmphoraTraffic(**row._mapping) for row in await store.execute(statement))
