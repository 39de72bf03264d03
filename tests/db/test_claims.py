"""Claims under concurrency, what settling and failing write, and that an old claim writes nothing."""

import asyncio
import datetime as dt

import pytest
import sqlalchemy as sa

from statera.base.errors import LostClaim
from statera.base.ids import new_id
from statera.base.reason import Reason
from statera.model.enums import OperatingStatus, ProvisioningStatus
from statera.model.tree import Tree
from statera.model.work import Claim, Event
from statera.store.amphorae import remove_amphora, save_amphora
from statera.store.bell import WorkBell
from statera.store.claims import (
    claim_load_balancer,
    list_load_balancer_ids,
    load_snapshot,
    mark_due,
    release_claim,
    remove_load_balancer,
    renew_claim,
    save_failure,
    save_settled,
)
from statera.store.engine import Store
from statera.store.events import list_events
from statera.store.trees import TreeEditor, insert_tree, load_tree
from tests.db.trees import (
    NOW,
    edit_add,
    edit_delete,
    edit_rename,
    make_amphora,
    make_member,
    make_tree,
)

ACTIVE = ProvisioningStatus.ACTIVE
LISTENING = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
TROUBLE = Reason(slug="agent-unreachable", sentence="It does not answer.")


async def plant(store: Store) -> Tree:
    tree = make_tree()
    await insert_tree(store, tree, actor="me", what="created")
    return tree


async def claim(store: Store, owner: str = "one", lease_s: float = 60.0) -> Claim:
    found = await claim_load_balancer(store, owner=owner, lease_s=lease_s)
    assert found is not None
    return found


async def edit(store: Store, tree: Tree, name: str = "new") -> Tree:
    return await TreeEditor(store).edit(tree.load_balancer.id, edit_rename(name), actor="me", what="renamed")


async def show(store: Store, tree: Tree) -> Tree:
    found = await load_tree(store, tree.load_balancer.id)
    assert found is not None
    return found


def note(tree: Tree, what: str) -> Event:
    return Event(load_balancer_id=tree.load_balancer.id, generation=1, what=what, at=NOW, actor="one")


async def test_each_is_claimed_once_however_many_ask(store: Store) -> None:
    trees = [await plant(store) for _ in range(5)]
    claims = await asyncio.gather(*[claim_load_balancer(store, owner=str(n), lease_s=60) for n in range(12)])
    held = [one.load_balancer_id for one in claims if one is not None]
    assert sorted(held) == sorted(tree.load_balancer.id for tree in trees)
    assert {one.epoch for one in claims if one is not None} == {1}


async def test_the_longest_due_comes_first_and_the_settled_not_at_all(store: Store) -> None:
    first, second = await plant(store), await plant(store)
    for tree in (first, second):
        one = await claim(store)
        assert one.load_balancer_id == tree.load_balancer.id
        assert not await save_settled(store, one, 1, recheck_s=60)
    assert await claim_load_balancer(store, owner="one", lease_s=60) is None
    await mark_due(store, [second.load_balancer.id, new_id()])
    assert (await claim(store)).load_balancer_id == second.load_balancer.id


async def test_a_lease_that_runs_out_is_taken_over(store: Store) -> None:
    await plant(store)
    dead = await claim(store, lease_s=0.0)
    heir = await claim(store, owner="two")
    assert (heir.epoch, heir.owner) == (dead.epoch + 1, "two")
    assert await claim_load_balancer(store, owner="three", lease_s=60) is None
    with pytest.raises(LostClaim):
        await renew_claim(store, dead, lease_s=60)


async def test_renewing_holds_it_longer(store: Store) -> None:
    await plant(store)
    short = await claim(store, lease_s=0.0)
    renewed = await renew_claim(store, short, lease_s=60)
    assert renewed.lease_until > short.lease_until
    assert await claim_load_balancer(store, owner="two", lease_s=60) is None


async def test_an_old_claim_writes_nothing(store: Store) -> None:
    tree = await plant(store)
    old = await claim(store)
    await release_claim(store, old)
    newer = await claim(store, owner="two")
    amphora = make_amphora(tree.load_balancer.id)
    history = [note(tree, "too late")]
    for write in (
        load_snapshot(store, old),
        renew_claim(store, old, lease_s=60),
        save_settled(store, old, 1, recheck_s=60, history=history),
        save_failure(store, old, 1, reason=TROUBLE, retry_s=1, as_error=True, history=history),
        save_amphora(store, old, amphora),
        remove_amphora(store, old, amphora.id),
        remove_load_balancer(store, old, history=history),
    ):
        with pytest.raises(LostClaim):
            await write
    await release_claim(store, old)
    assert await show(store, tree) == tree
    assert len(await list_events(store, tree.load_balancer.id)) == 1
    assert (await renew_claim(store, newer, lease_s=60)).epoch == 2


async def test_a_snapshot_holds_the_tree_and_its_amphorae_by_age(store: Store) -> None:
    tree, other = await plant(store), await plant(store)
    held, theirs = await claim(store), await claim(store)
    young = make_amphora(tree.load_balancer.id, created_at=NOW + dt.timedelta(seconds=1))
    old = make_amphora(tree.load_balancer.id)
    for amphora in (young, old):
        await save_amphora(store, held, amphora)
    await save_amphora(store, theirs, make_amphora(other.load_balancer.id))
    snapshot = await load_snapshot(store, held)
    assert snapshot is not None
    assert snapshot.tree == tree
    assert snapshot.amphorae == (old, young)


async def test_settling_makes_active_and_removes_what_was_to_go(store: Store) -> None:
    tree = await plant(store)
    editor = TreeEditor(store)
    for gone in (tree.members[0], tree.health_monitors[0]):
        await editor.edit(tree.load_balancer.id, edit_delete(gone), actor="me", what="deleted")
    held = await claim(store)
    assert not await save_settled(store, held, 3, recheck_s=60, history=[note(tree, "a"), note(tree, "b")])
    shown = await show(store, tree)
    assert (shown.load_balancer.observed_generation, shown.load_balancer.provisioning_status) == (3, ACTIVE)
    assert [member.id for member in shown.members] == [tree.members[1].id]
    assert shown.health_monitors == ()
    assert {row.provisioning_status for row in (*shown.listeners, *shown.pools, *shown.members)} == {ACTIVE}
    assert shown.load_balancer.updated_at is not None
    assert shown.listeners[0].updated_at is None, "it was created, not updated"
    assert [event.what for event in await list_events(store, tree.load_balancer.id)][:2] == ["b", "a"]


async def test_settling_leaves_later_edits_pending(store: Store) -> None:
    tree = await plant(store)
    held = await claim(store)
    member = make_member(tree.pools[0], 7)
    editor = TreeEditor(store)
    await editor.edit(tree.load_balancer.id, edit_add(member), actor="me", what="added")
    await editor.edit(tree.load_balancer.id, edit_delete(tree.members[0]), actor="me", what="deleted")
    assert await claim_load_balancer(store, owner="two", lease_s=60) is None, "an edit takes no claim away"
    assert await save_settled(store, held, 1, recheck_s=60)
    shown = await show(store, tree)
    assert shown.load_balancer.provisioning_status == ProvisioningStatus.PENDING_UPDATE
    assert [member.provisioning_status for member in shown.members] == [
        ProvisioningStatus.PENDING_DELETE,
        ACTIVE,
        ProvisioningStatus.PENDING_CREATE,
    ]
    assert (await claim(store)).load_balancer_id == tree.load_balancer.id


async def test_a_monitor_is_online_once_it_is_active(store: Store) -> None:
    tree = await plant(store)
    await save_settled(store, await claim(store), 1, recheck_s=60)
    shown = await show(store, tree)
    assert shown.health_monitors[0].operating_status == OperatingStatus.ONLINE
    assert shown.listeners[0].operating_status == tree.listeners[0].operating_status


async def test_what_comes_due_during_a_pass_outlives_it(store: Store) -> None:
    tree = await plant(store)
    held = await claim(store)
    await mark_due(store, [tree.load_balancer.id])
    held = await renew_claim(store, held, lease_s=60)
    assert await save_settled(store, held, 1, recheck_s=60)
    assert (await claim(store)).load_balancer_id == tree.load_balancer.id


async def test_a_failure_keeps_pending_and_dates_its_reason(store: Store) -> None:
    tree = await plant(store)
    assert not await save_failure(store, await claim(store), 1, reason=TROUBLE, retry_s=60, as_error=False)
    shown = await show(store, tree)
    for row in (shown.load_balancer, *shown.listeners, *shown.members):
        assert row.provisioning_status == ProvisioningStatus.PENDING_CREATE
        assert row.reason is not None
        assert (row.reason.slug, row.reason.sentence, row.reason.generation) == (TROUBLE.slug, TROUBLE.sentence, 1)
    assert shown.load_balancer.reason is not None
    since = shown.load_balancer.reason.since
    assert since is not None
    assert await claim_load_balancer(store, owner="one", lease_s=60) is None, "not before its time"
    await mark_due(store, [tree.load_balancer.id])
    again = await claim(store)
    assert again.failures == 1
    assert again.failing_since is not None
    words = Reason(slug=TROUBLE.slug, sentence="Other words with a NUL \x00.")
    await save_failure(store, again, 1, reason=words, retry_s=60, as_error=True)
    shown = await show(store, tree)
    assert shown.load_balancer.provisioning_status == ProvisioningStatus.ERROR
    assert shown.load_balancer.reason is not None
    assert shown.load_balancer.reason.since == since, "the same trouble"
    await mark_due(store, [tree.load_balancer.id])
    await save_settled(store, await claim(store), 1, recheck_s=60)
    shown = await show(store, tree)
    assert {row.provisioning_status for row in (shown.load_balancer, *shown.listeners, *shown.members)} == {ACTIVE}
    assert {row.reason for row in (shown.load_balancer, *shown.listeners, *shown.members)} == {None}


async def test_a_failure_touches_only_what_is_not_live(store: Store) -> None:
    tree = await plant(store)
    await save_settled(store, await claim(store), 1, recheck_s=60)
    member = make_member(tree.pools[0], 7)
    await TreeEditor(store).edit(tree.load_balancer.id, edit_add(member), actor="me", what="added")
    await save_failure(store, await claim(store), 2, reason=TROUBLE, retry_s=60, as_error=True)
    shown = await show(store, tree)
    assert [one.provisioning_status for one in shown.members] == [ACTIVE, ACTIVE, ProvisioningStatus.ERROR]
    assert shown.listeners[0].provisioning_status == ACTIVE


async def test_an_edit_after_the_failure_is_due_at_once_and_starts_anew(store: Store) -> None:
    tree = await plant(store)
    held = await claim(store)
    await edit(store, tree)
    assert await save_failure(store, held, 1, reason=TROUBLE, retry_s=60, as_error=True)
    shown = await show(store, tree)
    assert shown.load_balancer.provisioning_status == ProvisioningStatus.PENDING_UPDATE, "the edit was not tried yet"
    assert shown.load_balancer.reason is None
    again = await claim(store)
    assert (again.failures, again.failing_since) == (0, None)
    await save_failure(store, again, 2, reason=TROUBLE, retry_s=60, as_error=False)
    await edit(store, tree, "newer")
    again = await claim(store)
    assert (again.failures, again.failing_since) == (0, None)


async def test_removing_takes_all_below_along_and_leaves_the_history(store: Store) -> None:
    tree, other = await plant(store), await plant(store)
    held = await claim(store)
    assert held.load_balancer_id == tree.load_balancer.id
    amphora = make_amphora(tree.load_balancer.id)
    await save_amphora(store, held, amphora)
    with pytest.raises(sa.exc.IntegrityError):
        await remove_load_balancer(store, held)
    await remove_amphora(store, held, amphora.id)
    await remove_load_balancer(store, held, history=[note(tree, "gone")])
    assert await load_tree(store, tree.load_balancer.id) is None
    assert await list_load_balancer_ids(store) == {other.load_balancer.id}
    assert [event.what for event in await list_events(store, tree.load_balancer.id)] == ["gone", "created"]
    assert await load_snapshot(store, held) is None


async def test_edits_wake_the_bell(store: Store) -> None:
    bell = WorkBell(store)
    listening = asyncio.create_task(bell.run())
    try:
        async with asyncio.timeout(20):
            await _wait_for_listener(store)
            for ring in (plant(store), _release(store)):
                await bell.wait(0.01)
                await ring
                await bell._rung.wait()
    finally:
        listening.cancel()


async def test_a_bell_that_lost_its_connection_rings_and_hears_again(store: Store) -> None:
    bell = WorkBell(store)
    listening = asyncio.create_task(bell.run())
    try:
        async with asyncio.timeout(20):
            await _wait_for_listener(store)
            await bell.wait(0.01)
            # Waits until it is gone.
            await store.execute(sa.text(f"SELECT pg_terminate_backend(pid, 20000) {LISTENING}"))
            # What was said meanwhile nobody has heard.
            await bell._rung.wait()
            await _wait_for_listener(store)
            await bell.wait(0.01)
            await plant(store)
            await bell._rung.wait()
    finally:
        listening.cancel()


async def _release(store: Store) -> None:
    await release_claim(store, await claim(store))


async def _wait_for_listener(store: Store) -> None:
    question = sa.text(f"SELECT 1 {LISTENING}")
    while not await store.execute(question):
        await asyncio.sleep(0.01)
