"""Who wakes the workers: a transaction does at most once, and what is only seen never does."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest_asyncio

from bench.crowd import edit_everything, plant
from statera.base.ids import new_id
from statera.base.reason import Reason
from statera.model.amphora import Amphora
from statera.model.enums import OperatingStatus
from statera.model.failover import Limits
from statera.model.heartbeat import ListenerObserved, ListenerState
from statera.model.observed import Silence
from statera.model.statistics import Counted
from statera.model.status import StatusChange
from statera.model.tree import Member, Tree
from statera.model.work import Claim
from statera.store.amphorae import remove_amphora, touch_amphorae
from statera.store.claims import (
    claim_load_balancer,
    mark_due,
    release_claim,
    remove_load_balancer,
    renew_claim,
    save_failure,
    save_settled,
)
from statera.store.drains import add_drain, explain_drains, forget_host, remove_drain
from statera.store.engine import Store
from statera.store.failover import save_given_up, save_silences
from statera.store.observations import save_statuses
from statera.store.spares import add_spare, condemn_spare, confirm_spare, drop_spare, take_spare
from statera.store.statistics import save_counted
from statera.store.trees import CHANNEL, TreeEditor, insert_tree
from tests.db.trees import edit_rename, make_amphora, make_tree

END = "this was all"
AT_ONCE = 20
REASON = Reason(slug="host-full", sentence="No room.")
LIMITS = Limits(per_minute=60, fleet_percent=100.0)

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
    claim = await _claim(store)
    claim = await renew_claim(store, claim, lease_s=60)
    await save_settled(store, claim, 9, recheck_s=60)


async def _claim(store: Store) -> Claim:
    claim = await claim_load_balancer(store, owner="me", lease_s=60)
    assert claim is not None
    return claim


async def test_a_pass_that_fails_gives_up_or_removes_wakes_nobody(store: Store, count: Count) -> None:
    tree, amphora = await plant(store)
    await mark_due(store, [tree.load_balancer.id])
    claim = await _claim(store)
    assert await count(save_given_up(store, claim, amphora, LIMITS)) == 0
    for as_error in (False, True):
        failed = save_failure(store, claim, 9, reason=REASON, retry_s=60, as_error=as_error)
        assert await count(failed) == 0
    await remove_amphora(store, claim, amphora.id)
    assert await count(remove_load_balancer(store, claim)) == 0


async def test_spares_wake_nobody(store: Store, count: Count) -> None:
    tree, _ = await plant(store)
    await mark_due(store, [tree.load_balancer.id])
    claim = await _claim(store)
    first, second = new_id(), new_id()

    async def keep_spares() -> None:
        for one in (first, second):
            await add_spare(store, one, "one")
            await confirm_spare(store, one)
        assert await take_spare(store, claim, make_amphora(tree.load_balancer.id, id=first, host="one"))
        assert await condemn_spare(store, second)
        await drop_spare(store, second)

    assert await count(keep_spares()) == 0


async def test_of_drains_only_a_host_that_is_gone_wakes_and_once(store: Store, count: Count) -> None:
    planted = [await plant(store) for _ in range(3)]
    host = planted[0][1].host
    assert {amphora.host for _, amphora in planted} == {host}
    assert await count(add_drain(store, host, "operator")) == 0
    assert await count(explain_drains(store, {host: REASON})) == 0
    assert await count(forget_host(store, "of nobody", "operator")) == 0
    assert await count(forget_host(store, host, "operator")) == 1
    assert await count(remove_drain(store, host)) == 0
