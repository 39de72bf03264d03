"""Workers over one database: they wake, share the work, take over from the dead, and stop."""

import asyncio

import pytest
import sqlalchemy as sa

from statera.base.errors import Transient
from statera.control.worker import Worker, run_control
from statera.drivers.postgres_embedded import EmbeddedPostgres
from statera.model.enums import ProvisioningStatus
from statera.model.tree import Tree
from statera.store.claims import claim_load_balancer, release_claim
from tests.control.room import Room, reach
from tests.db.trees import edit_add, edit_delete, edit_rename, make_member

_LEASE = sa.text("SELECT extract(epoch FROM lease_until) FROM load_balancers WHERE id = :id")
_TAKE_OVER = sa.text("UPDATE load_balancers SET epoch = epoch + 1, lease_until = now() RETURNING id")


async def test_a_load_balancer_lives_from_create_to_delete(room: Room) -> None:
    async with room.control():
        tree = await room.wait_settled(await room.create())
        member = make_member(tree.pools[0], 7)
        await room.edit(tree, edit_add(member))
        tree = await room.wait_settled(tree)
        [sandbox] = room.compute.list_sandboxes().values()
        assert member.id in sandbox.text
        await room.delete(tree)
        await room.wait_gone(tree)
    await room.assert_nothing_left(tree)


async def test_edits_while_it_works_are_all_applied(room: Room) -> None:
    async with room.control():
        tree = await room.wait_settled(await room.create())
        members = [make_member(tree.pools[0], 10 + number) for number in range(100)]
        await asyncio.gather(*[room.edit(tree, edit_add(member)) for member in members])
        await room.edit(tree, edit_delete(members[0]))
        tree = await room.wait_settled(tree)
    assert len(tree.members) == 101
    [sandbox] = room.compute.list_sandboxes().values()
    assert members[-1].id in sandbox.text
    assert members[0].id not in sandbox.text
    assert sandbox.reloads < 50, "edits are taken together"


async def test_several_workers_share_many_load_balancers(room: Room) -> None:
    async with room.control(3):
        trees = [await room.create() for _ in range(12)]
        doomed, kept = trees[:6], trees[6:]
        for tree in doomed:
            await room.delete(tree)
        for tree in kept:
            await room.edit(tree, edit_rename("new"))
        for tree in doomed:
            await room.wait_gone(tree)
        for tree in kept:
            await room.wait_settled(tree)
    assert len(room.compute.list_sandboxes()) == len(kept)
    assert len(await room.network.observe_ports()) == 2 * len(kept)


async def test_another_worker_takes_over_from_a_dead_one(room: Room) -> None:
    tree = await room.create()
    gate = room.compute.hold("apply_configuration")
    claim = await room.claim(lease_s=0.5)
    dying = asyncio.create_task(room.reconciler.run_pass(claim))
    await reach(gate, dying)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert await claim_load_balancer(room.store, owner="other", lease_s=1) is None, "the lease still holds"
    async with room.control():
        tree = await room.wait_settled(tree)
    assert len(room.compute.list_sandboxes()) == len(await room.amphorae(tree)) == 1


async def test_a_long_pass_keeps_its_claim(room: Room) -> None:
    tree = await room.create()
    gate = room.compute.hold("ensure_amphora")
    stop = asyncio.Event()
    worker = Worker(room.around, name="first")
    running = asyncio.create_task(worker.run(stop))
    await reach(gate, running)
    until = await _lease_until(room, tree)
    async with asyncio.timeout(20):
        while await _lease_until(room, tree) <= until + room.settings.reconcile.lease_s:
            assert await claim_load_balancer(room.store, owner="second", lease_s=1) is None
            await asyncio.sleep(0.05)
    gate.open()
    await room.wait_settled(tree)
    stop.set()
    await running


async def test_a_pass_that_lost_its_claim_is_cancelled(room: Room) -> None:
    tree = await room.create()
    gate = room.compute.hold("apply_configuration")
    stop = asyncio.Event()
    worker = Worker(room.around)
    running = asyncio.create_task(worker.run(stop))
    await reach(gate, running)
    [task] = worker._running
    rows = await room.store.execute(_TAKE_OVER)
    assert rows
    # The gate stays shut: only the loss of the claim can end this pass.
    await asyncio.wait({task}, timeout=20)
    assert task.done()
    await room.wait_settled(tree)
    stop.set()
    await running


async def test_an_agent_that_removed_an_amphora_since_the_backup_builds_it_again(room: Room) -> None:
    """It refuses older epochs than that of the removal, and there is no sandbox to show which that was."""
    async with room.control():
        tree = await room.wait_settled(await room.create())
        [amphora] = await room.amphorae(tree)
        await room.compute.remove_amphora(amphora.host, amphora.id, epoch=5_000)
        await room.edit(tree, edit_rename("as it was"))
        await room.wait_settled(tree)
        assert amphora.id in room.compute.list_sandboxes()


async def test_a_fault_of_our_own_shows_and_heals(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = await room.create()
    fallen = asyncio.Event()

    async def fall() -> None:
        fallen.set()
        raise ZeroDivisionError

    whole = room.compute.observe_hosts
    monkeypatch.setattr(room.compute, "observe_hosts", fall)
    async with room.control():
        shown = await room.wait_until(tree, "a reason", _has_reason)
        assert shown is not None
        assert shown.load_balancer.reason is not None
        assert shown.load_balancer.reason.slug == "internal-fault"
        assert "ZeroDivisionError" in shown.load_balancer.reason.sentence
        assert shown.load_balancer.provisioning_status == ProvisioningStatus.PENDING_CREATE
        monkeypatch.setattr(room.compute, "observe_hosts", whole)
        await room.wait_settled(tree)


async def test_who_stops_gives_unfinished_work_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statera.control.worker.STOP_WITHIN_S", 0.1)
    tree = await room.create()
    gate = room.compute.hold("apply_configuration")
    stop = asyncio.Event()
    running = asyncio.create_task(run_control(room.around, stop))
    await reach(gate, running)
    stop.set()
    await running
    claim = await claim_load_balancer(room.store, owner="next", lease_s=5)
    assert claim is not None, "it is due again at once"
    assert claim.load_balancer_id == tree.load_balancer.id
    await release_claim(room.store, claim)


async def test_a_database_that_restarts_is_waited_for(room: Room, postgres: EmbeddedPostgres) -> None:
    async with room.control():
        tree = await room.wait_settled(await room.create())
        await room.edit(tree, edit_rename("before"))
        await asyncio.to_thread(postgres.stop)
        try:
            with pytest.raises(Transient):
                await room.edit(tree, edit_rename("meanwhile"))
        finally:
            await asyncio.to_thread(postgres.start)
        await room.edit(tree, edit_rename("after"))
        await room.wait_settled(tree)
    [sandbox] = room.compute.list_sandboxes().values()
    assert sandbox.configuration is not None
    assert sandbox.configuration.generation == 3


async def test_retries_go_on_until_the_cause_is_gone(room: Room) -> None:
    room.compute.hosts["one"].reachable = False
    tree = await room.create()
    async with room.control():
        await room.wait_until(tree, "a reason", _has_reason)
        room.clock.ahead_s += room.settings.reconcile.error_after_s + 1
        await room.wait_until(tree, "ERROR", _is_error)
        room.compute.hosts["one"].reachable = True
        await room.wait_settled(tree)


def _has_reason(tree: Tree | None) -> bool:
    return tree is not None and tree.load_balancer.reason is not None


def _is_error(tree: Tree | None) -> bool:
    return tree is not None and tree.load_balancer.provisioning_status == ProvisioningStatus.ERROR


async def _lease_until(room: Room, tree: Tree) -> float:
    rows = await room.store.execute(_LEASE, {"id": tree.load_balancer.id})
    return float(rows[0][0])
