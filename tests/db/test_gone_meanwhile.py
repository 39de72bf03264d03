"""What health tells of may be dropped while it is being written: it is skipped, and the others are written."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest_asyncio
import sqlalchemy as sa

from bench.crowd import plant
from statera.model.amphora import Amphora
from statera.model.heartbeat import ListenerObserved, ListenerState
from statera.model.observed import Silence
from statera.model.statistics import Counted
from statera.store.engine import Store
from statera.store.failover import save_silences
from statera.store.statistics import save_counted
from tests.db.trees import NOW

WAITS = sa.text("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
Planted = tuple[str, Amphora]


@pytest_asyncio.fixture
async def planted(store: Store) -> tuple[Planted, Planted]:
    """Give two load balancers: the id of a listener and the amphora of each."""
    (one, first), (other, second) = await plant(store), await plant(store)
    return (one.listeners[0].id, first), (other.listeners[0].id, second)


@asynccontextmanager
async def dropping(store: Store, table: str, row_id: str) -> AsyncIterator[None]:
    """Drop a row in a transaction that ends with the block."""
    async with store.write() as connection:
        await connection.execute(sa.text(f"DELETE FROM {table} WHERE id = :id"), {"id": row_id})
        yield


async def write_while_dropped(store: Store, table: str, row_id: str, writing: Awaitable[None]) -> None:
    """Begin to write while a row is being dropped; the drop is committed once the writer has come to it."""
    async with asyncio.timeout(20):
        async with dropping(store, table, row_id):
            task = asyncio.ensure_future(writing)
            while not task.done() and not await store.execute(WAITS):
                await asyncio.sleep(0.01)
        await task


async def test_a_silence_of_an_amphora_that_goes(store: Store, planted: tuple[Planted, Planted]) -> None:
    (_, gone), (_, stays) = planted
    silences = [
        Silence(amphora_id=one.id, load_balancer_id=one.load_balancer_id, host=one.host, since=NOW)
        for one in (gone, stays)
    ]
    await write_while_dropped(store, "amphorae", gone.id, save_silences(store, silences, []))
    assert [str(row.id) for row in await store.execute(sa.text("SELECT amphora_id AS id FROM silences"))] == [stays.id]


async def test_counters_of_a_listener_that_goes(store: Store, planted: tuple[Planted, Planted]) -> None:
    await store.execute(sa.text("DELETE FROM listener_statistics"))
    counted = [
        Counted(
            amphora_id=amphora.id,
            process=2,
            told_at=NOW,
            listeners=(ListenerObserved(id=listener_id, status=ListenerState.OPEN, bytes_in=7),),
        )
        for listener_id, amphora in planted
    ]
    (gone, _), (stays, _) = planted
    await write_while_dropped(store, "listeners", gone, save_counted(store, counted))
    rows = await store.execute(sa.text("SELECT listener_id, bytes_in FROM listener_statistics"))
    assert [(str(row.listener_id), row.bytes_in) for row in rows] == [(stays, 7)]
