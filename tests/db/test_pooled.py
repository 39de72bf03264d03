"""Behind PgBouncer in transaction mode: nothing depends on a session, and the bell knows where it can hear."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import sqlalchemy as sa
from structlog.testing import capture_logs

from statera.base.logging import get_logger
from statera.drivers.postgres_embedded import EmbeddedPostgres
from statera.store import bell as bells
from statera.store.bell import WorkBell
from statera.store.claims import claim_load_balancer, load_snapshot, save_settled
from statera.store.engine import SETTINGS, Store
from statera.store.migrate import current_revision, head_revision, upgrade
from statera.store.trees import TreeEditor, insert_tree, load_tree
from tests.db.trees import edit_rename, make_tree
from tests.fixtures.pgbouncer import run_pgbouncer

AT_ONCE = 20


@pytest.fixture
def pooled_url(postgres: EmbeddedPostgres, database_url: str) -> Iterator[str]:
    with run_pgbouncer(postgres, database_url) as pooler:
        yield pooler.url


@pytest_asyncio.fixture
async def pooled(pooled_url: str) -> AsyncIterator[Store]:
    opened = Store(pooled_url, pooled=True)
    yield opened
    await opened.close()


async def test_many_at_once_share_few_sessions(pooled: Store) -> None:
    trees = [make_tree() for _ in range(AT_ONCE)]
    await asyncio.gather(*(insert_tree(pooled, tree, actor="me", what="created") for tree in trees))
    editor = TreeEditor(pooled)
    # Often enough for a driver to prepare what it repeats.
    for number in range(8):
        edits = [
            editor.edit(one.load_balancer.id, edit_rename(f"n{number}"), actor="me", what="edited") for one in trees
        ]
        await asyncio.gather(*edits)
    for _ in trees:
        claim = await claim_load_balancer(pooled, owner="me", lease_s=60)
        assert claim is not None
        assert await load_snapshot(pooled, claim) is not None
        await save_settled(pooled, claim, 9, recheck_s=60)
    shown = await asyncio.gather(*(load_tree(pooled, one.load_balancer.id) for one in trees))
    assert {one.load_balancer.name for one in shown if one is not None} == {"n7"}
    assert {one.load_balancer.observed_generation for one in shown if one is not None} == {9}


async def test_its_sessions_have_our_settings(pooled: Store, pooled_url: str) -> None:
    assert upgrade(pooled_url) == head_revision() == current_revision(pooled_url)
    told = {name: (await pooled.execute(sa.text(f"SHOW {name}")))[0][0] for name in SETTINGS}
    assert told == SETTINGS | {"idle_in_transaction_session_timeout": "1min"}


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_bell_that_cannot_hear_says_so_once(
    pooled_url: str, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(pooled_url, pooled=is_told)
    # One that another test has made may be kept with its own way out.
    monkeypatch.setattr(bells, "log", get_logger("store"))
    with capture_logs() as lines:
        async with asyncio.timeout(20):
            await WorkBell(store).run()
    await store.close()
    assert [line["event"] for line in lines] == ["no bell behind a pooler, polling alone"]


async def test_a_bell_hears_past_the_pooler(pooled_url: str, database_url: str) -> None:
    store = Store(pooled_url, pooled=True, direct_url=database_url)
    bell = WorkBell(store)
    listening = asyncio.create_task(bell.run())
    try:
        async with asyncio.timeout(20):
            while not await store.execute(sa.text("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")):
                await asyncio.sleep(0.01)
            await bell.wait(0.01)
            await insert_tree(store, make_tree(), actor="me", what="created")
            await bell._rung.wait()
    finally:
        listening.cancel()
        await store.close()
