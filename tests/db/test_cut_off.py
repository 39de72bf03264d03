"""A database that is cut off, or hangs, without a word: who asks is told so, and is served again when it is back."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio
import sqlalchemy as sa

from statera.base.errors import Transient
from statera.drivers.postgres_embedded import EmbeddedPostgres
from statera.store.engine import Store
from tests.fixtures.pgbouncer import run_pgbouncer

pytestmark = pytest.mark.root

TOLD_WITHIN_S = 20.0
LONG = sa.text("SELECT pg_sleep(40)")
SHORT = sa.text("SELECT 1")
RUNNING = sa.text("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")


@pytest_asyncio.fixture
async def far(postgres: EmbeddedPostgres, database_url: str) -> AsyncIterator[Store]:
    """The database as it is reached over TCP: the private one listens on a unix socket alone."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("drops packets: needs root")
    with run_pgbouncer(postgres, database_url) as pooler:
        opened = Store(pooler.url, pooled=True)
        yield opened
        await opened.close()


@contextmanager
def cut(port: int) -> Iterator[None]:
    """Lose every packet from and to a port of this machine."""
    table = f"statera-cut-{port}"
    rules = "".join(f"tcp {way} {port} drop\n" for way in ("sport", "dport"))
    chain = f"chain heard {{\ntype filter hook input priority 0\n{rules}}}\n"
    subprocess.run(["nft", "-f", "-"], input=f"table inet {table} {{\n{chain}}}\n", text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)


async def test_who_waits_for_an_answer_and_who_asks_are_told_soon(far: Store, store: Store) -> None:
    port = far.engine.url.port
    assert port is not None
    # Two sessions: one that waits for an answer while the other has nothing to do.
    waiting = asyncio.create_task(far.execute(LONG))
    while not await store.execute(RUNNING):
        await asyncio.sleep(0.01)
    await far.execute(SHORT)
    with cut(port):
        async with asyncio.timeout(TOLD_WITHIN_S):
            told = await asyncio.gather(waiting, far.execute(SHORT), return_exceptions=True)
    assert [one.reason.slug for one in told if isinstance(one, Transient)] == ["database-unavailable"] * 2
    assert (await far.execute(SHORT))[0][0] == 1


async def test_who_waits_for_a_server_that_hangs_is_told(postgres: EmbeddedPostgres, database_url: str) -> None:
    """Its kernel answers for it: no probe of a connection sees that."""
    with run_pgbouncer(postgres, database_url) as pooler:
        far = Store(pooler.url, pooled=True, pool_size=1, answer_most_s=1.0)
        await far.execute(SHORT)
        os.kill(pooler.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(TOLD_WITHIN_S):
                with pytest.raises(Transient, match="does not answer"):
                    await far.execute(SHORT)
                with pytest.raises(Transient, match="does not answer"):
                    await far.run(lambda connection: connection.execute(SHORT))
        finally:
            os.kill(pooler.pid, signal.SIGCONT)
        assert (await far.execute(SHORT))[0][0] == 1
        await far.close()
