"""What a health process that starts among many load balancers asks of PostgreSQL: batches, no write without news."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import pytest
import sqlalchemy as sa

from bench.crowd import multiply, plant
from bench.heartbeats import list_voices
from statera.base.clock import SystemClock
from statera.base.settings import HealthSettings, Settings
from statera.health import writer as writer_module
from statera.health.judge import Judge
from statera.health.looks import MOST_PER_BATCH
from statera.health.receiver import HeartbeatReceiver
from statera.health.writer import StatusWriter
from statera.model.heartbeat import Heartbeat, MemberState
from statera.model.observed import Observed
from statera.model.status import StatusChange, derive_statuses
from statera.model.tree import Tree
from statera.store.engine import Store

COPIES = 2 * MOST_PER_BATCH + 49
BATCHES = 3
_STATUSES = sa.text("""
    SELECT operating_status, count(*) FROM (
        SELECT operating_status FROM load_balancers UNION ALL SELECT operating_status FROM listeners
        UNION ALL SELECT operating_status FROM pools UNION ALL SELECT operating_status FROM members
    ) AS shown GROUP BY operating_status
""")


async def fill(store: Store, url: str) -> list[Heartbeat]:
    """Store many load balancers; return what their amphorae say when all is well."""
    await plant(store)
    await asyncio.to_thread(multiply, url, COPIES)
    with psycopg.connect(url) as link:
        return [voice.heartbeat for voice in list_voices(link)]


class Started:
    """A process that has just started, as far as statuses go."""

    def __init__(self, store: Store) -> None:
        self.clock, self._number = SystemClock(), 0
        receiver = HeartbeatReceiver(store, Settings(), self.clock)
        self.memory = receiver.memory
        self.judge = Judge(store, HealthSettings(), self.clock, receiver)
        self.writer = StatusWriter(store, self.clock, self.memory, self.judge, 30.0)

    def hear(self, *heartbeats: Heartbeat) -> None:
        self._number += 1
        for heartbeat in heartbeats:
            now = self.clock.now()
            fresh = msgspec.structs.replace(heartbeat, sequence=self._number, sent_at=now.timestamp())
            self.memory.accept(fresh, now)

    async def catch_up(self) -> int:
        """Return how many batches it took."""
        for number in itertools.count(1):
            await self.judge.look()
            if not await self.writer.flush():
                return number
        raise AssertionError("counting does not end")


@contextmanager
def asked(store: Store) -> Iterator[list[str]]:
    """Collect the statements that are sent in this block, and commits."""
    told: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        told.append(statement)

    def note_commit(_connection: Any) -> None:
        told.append("COMMIT")

    engine = store.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    sa.event.listen(engine, "commit", note_commit)
    try:
        yield told
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
        sa.event.remove(engine, "commit", note_commit)


async def show(store: Store) -> dict[str, int]:
    return {row[0]: row[1] for row in await store.execute(_STATUSES)}


async def test_a_start_reads_and_writes_in_batches_and_the_next_one_writes_nothing(
    store: Store, database_url: str
) -> None:
    heartbeats = await fill(store, database_url)
    first, again = Started(store), Started(store)
    first.hear(*heartbeats)
    with asked(store) as statements:
        assert await first.catch_up() == BATCHES
    assert await show(store) == {"ONLINE": 5 * (COPIES + 1)}
    assert sum("json_build_object('load_balancer'" in one for one in statements) == BATCHES
    assert sum("FOR UPDATE" in one for one in statements) == BATCHES
    assert statements.count("COMMIT") == BATCHES
    assert not any("NOTIFY" in one for one in statements)
    again.hear(*heartbeats)
    with asked(store) as statements:
        assert await again.catch_up() == BATCHES
    assert len(statements) == 2 * BATCHES, "who should speak, and the trees"
    assert not any(word in one for one in statements for word in ("UPDATE", "INSERT", "DELETE", "COMMIT"))


async def test_what_changes_during_a_start_is_shown_with_its_next_batch(store: Store, database_url: str) -> None:
    heartbeats = await fill(store, database_url)
    started = Started(store)
    started.hear(*heartbeats)
    assert not await started.writer.flush(), "nobody knows yet who has spoken to others"
    assert set(await show(store)) == {"OFFLINE"}
    await started.judge.look()
    assert await started.writer.flush()
    seen = heartbeats[0]
    down = tuple(msgspec.structs.replace(one, state=MemberState.DOWN) for one in seen.members)
    started.hear(msgspec.structs.replace(seen, members=down))
    assert await started.writer.flush()
    assert (await show(store))["ERROR"] == len(down) + 2, "the members, their pool and the load balancer"


async def test_one_that_cannot_be_judged_keeps_no_other_waiting(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeats = await fill(store, database_url)
    started = Started(store)
    started.hear(*heartbeats)

    def fail_for_one(tree: Tree, observed: Observed, *rest: Any) -> tuple[StatusChange, ...]:
        if tree.load_balancer.id == heartbeats[0].load_balancer_id:
            raise RuntimeError("a fault of ours")
        return derive_statuses(tree, observed, *rest)

    failed = []
    monkeypatch.setattr(writer_module, "derive_statuses", fail_for_one)
    monkeypatch.setattr(writer_module.log, "exception", lambda _, *, load_balancer_id: failed.append(load_balancer_id))
    assert await started.catch_up() == BATCHES
    assert set(failed) == {heartbeats[0].load_balancer_id}
    assert await show(store) == {"ONLINE": 5 * COPIES, "OFFLINE": 5}


async def test_who_has_vips_is_written_and_locked_only_where_it_is_news(store: Store, database_url: str) -> None:
    heartbeats = await fill(store, database_url)
    started = Started(store)
    started.hear(*heartbeats)
    await started.catch_up()
    before = await list_versions(store)
    await started.writer.hold()
    assert await list_versions(store) == before
    started.hear(msgspec.structs.replace(heartbeats[0], has_vips=True))
    await started.writer.hold()
    after = await list_versions(store)
    assert [one for one in before if before[one] != after[one]] == [heartbeats[0].amphora_id]


async def list_versions(store: Store) -> dict[str, tuple[str, str]]:
    """Return the transactions that wrote and locked the row of each amphora last."""
    rows = await store.execute(sa.text("SELECT id::text, xmin::text, xmax::text FROM amphorae"))
    return {row[0]: (row[1], row[2]) for row in rows}
