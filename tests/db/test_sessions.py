"""Few sessions serve single statements and transactions in turn: nothing of one is left to the next."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.store.engine import Store

ADD = sa.text("INSERT INTO notes VALUES (:what)")
READ = sa.text("SELECT what FROM notes ORDER BY what")
SLEEPING = sa.text("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'")


@pytest_asyncio.fixture
async def narrow(store: Store, database_url: str) -> AsyncIterator[Store]:
    """One session for all, and a table; `store` has others."""
    await store.execute(sa.text("CREATE TABLE notes (what text)"))
    opened = Store(database_url, pool_size=1)
    yield opened
    await opened.close()


async def _add_two(connection: AsyncConnection) -> None:
    await connection.execute(ADD, {"what": "b"})
    await connection.execute(ADD, {"what": "c"})


async def test_single_statements_commit_and_transactions_are_whole(store: Store, narrow: Store) -> None:
    async def fail_in_the_middle(connection: AsyncConnection) -> None:
        await connection.execute(ADD, {"what": "lost"})
        raise ValueError("no")

    async def list_notes() -> list[str]:
        return [row.what for row in await store.execute(READ)]

    await narrow.execute(ADD, {"what": "a"})
    assert await list_notes() == ["a"]
    with pytest.raises(ValueError, match="no"):
        await narrow.run(fail_in_the_middle)
    await narrow.run(_add_two)
    assert await list_notes() == ["a", "b", "c"]
    async with narrow.write() as connection:
        await connection.execute(ADD, {"what": "d"})
        assert await list_notes() == ["a", "b", "c"]
    async with narrow.read() as connection:
        await connection.execute(ADD, {"what": "e"})
        assert await list_notes() == ["a", "b", "c", "d", "e"]
    with pytest.raises(ValueError, match="no"):
        await narrow.run(fail_in_the_middle)
    await narrow.execute(ADD, {"what": "f"})
    assert await list_notes() == ["a", "b", "c", "d", "e", "f"]


async def test_a_statement_that_fails_spoils_nothing(narrow: Store) -> None:
    for _ in range(3):
        with pytest.raises(sa.exc.DBAPIError):
            await narrow.execute(sa.text("SELECT 1 / 0"))
        assert (await narrow.execute(sa.text("SELECT 1")))[0][0] == 1


async def test_nobody_gets_a_session_that_is_still_busy(store: Store, narrow: Store) -> None:
    async with asyncio.timeout(30):
        asking = asyncio.create_task(narrow.execute(sa.text("SELECT pg_sleep(25)")))
        while not await store.execute(SLEEPING):
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await narrow.execute(sa.text("SELECT 1")))[0][0] == 1
        while await store.execute(SLEEPING):
            await asyncio.sleep(0.01)


async def test_a_session_that_the_server_has_ended_is_replaced_unnoticed(store: Store, narrow: Store) -> None:
    for _ in range(2):
        pid = (await narrow.execute(sa.text("SELECT pg_backend_pid()")))[0][0]
        # Waits until it is gone.
        await store.execute(sa.text("SELECT pg_terminate_backend(:pid, 20000)"), {"pid": pid})
        await narrow.run(_add_two)


async def test_however_many_ask_at_once_a_process_has_no_more_sessions_than_its_limit(
    store: Store, database_url: str
) -> None:
    busy = Store(database_url, pool_size=3)
    told = await asyncio.gather(*(busy.execute(sa.text("SELECT pg_backend_pid(), pg_sleep(0.005)")) for _ in range(40)))
    used = {rows[0][0] for rows in told}
    counted = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:pids)")
    assert 1 <= len(used) <= 3
    assert (await store.execute(counted, {"pids": list(used)}))[0][0] == len(used), "they are kept for who asks next"
    await busy.close()
