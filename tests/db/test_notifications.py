"""Who wakes the workers: a transaction does at most once, and what is only seen never does."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest_asyncio

from bench.crowd import edit_everything, plant
from statera.model.amphora import Amphora
from statera.model.enums import OperatingStatus
from statera.model.heartbeat import ListenerObserved, ListenerState
from statera.model.observed import Silence
from statera.model.statistics import Counted
from statera.model.status import StatusChange
from statera.model.tree import Member, Tree
from statera.store.amphorae import touch_amphorae
from statera.store.claims import claim_load_balancer, mark_due, release_claim, renew_claim, save_settled
from statera.store.engine import Store
from statera.store.failover import save_silences
from statera.store.observations import save_statuses
from statera.store.statistics import save_counted
from statera.store.trees import CHANNEL, TreeEditor, insert_tree
from tests.db.trees import edit_rename, make_tree

END = "this was all"
AT_ONCE = 20

Count = Callable[[Awaitable[Any]], Awaitable[int]]


@pytest_asyncio.fixture
async def count(store: Store, database_url: str) -> Any:
    """Say how many notifications some work makes."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as link:
        await link.execute(f"LISTEN {CHANNEL}")

        async def count_until_now() -> int:
            # PostgreSQL delivers in the order of the commits.
            await link.execute(f"NOTIFY {CHANNEL}, '{END}'")
            told = 0
            async with asyncio.timeout(20):
                async for notification in link.notifies():
                    if notification.payload == END:
                        break
                    told += 1
            return told

        async def work_and_count(work: Awaitable[Any]) -> int:
            await count_until_now()
            await work
            return await count_until_now()

        yield work_and_count


async def test_each_transaction_that_makes_work_wakes_once(store: Store, count: Count) -> None:
    tree = make_tree(member_count=50)
    assert await count(insert_tree(store, tree, actor="me", what="created")) == 1
    editor = TreeEditor(store)
    edit = editor.edit(tree.load_balancer.id, edit_everything("other"), actor="me", what="edited")
    assert await count(edit) == 1
    others = [make_tree() for _ in range(3)]
    for other in others:
        await insert_tree(store, other, actor="me", what="created")
        claim = await claim_load_balancer(store, owner="me", lease_s=60)
        assert claim is not None
        await save_settled(store, claim, 9, recheck_s=60)
    claim = await claim_load_balancer(store, owner="me", lease_s=60)
    assert claim is not None
    await save_settled(store, claim, 9, recheck_s=60)
    assert await count(mark_due(store, [other.load_balancer.id for other in (tree, *others)])) == 1
    claim = await claim_load_balancer(store, owner="me", lease_s=60)
    assert claim is not None
    assert await count(release_claim(store, claim)) == 1


async def test_edits_that_are_committed_together_wake_once(store: Store, count: Count) -> None:
    tree = make_tree()
    await insert_tree(store, tree, actor="me", what="created")
    editor = TreeEditor(store)
    edits = [editor.edit(tree.load_balancer.id, edit_rename(f"n{n}"), actor="me", what="e") for n in range(AT_ONCE)]
    assert await count(asyncio.gather(*edits)) == 1


async def test_what_health_and_passes_write_wakes_nobody(store: Store, count: Count) -> None:
    tree, amphora = await plant(store)
    assert await count(_observe(store, tree, amphora)) == 0
    await mark_due(store, [tree.load_balancer.id])
    assert await count(_work(store)) == 0


async def _observe(store: Store, tree: Tree, amphora: Amphora) -> None:
    now = dt.datetime.now(dt.UTC)
    await touch_amphorae(store, {amphora.id: now})
    listener = ListenerObserved(id=tree.listeners[0].id, status=ListenerState.OPEN, bytes_in=7)
    await save_counted(store, [Counted(amphora_id=amphora.id, process=1, told_at=now, listeners=(listener,))])
    change = StatusChange(kind=Member, id=tree.members[0].id, operating_status=OperatingStatus.ERROR, reason=None)
    await save_statuses(store, [change])
    silence = Silence(amphora_id=amphora.id, load_balancer_id=tree.load_balancer.id, host=amphora.host, since=now)
    await save_silences(store, [silence], [])


async def _work(store: Store) -> None:
    claim = await claim_load_balancer(store, owner="me", lease_s=60)
    assert claim is not None
    claim = await renew_claim(store, claim, lease_s=60)
    await save_settled(store, claim, 9, recheck_s=60)
