"""The pool of spare amphorae, with a real database: filled, taken in one statement, refilled, emptied."""

import asyncio

import msgspec
import pytest

from statera.base.errors import Transient
from statera.base.ids import new_id
from statera.control.spares import REMOVAL_EPOCH, SparePool
from statera.drivers.fakes import FakeCompute
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus
from statera.model.listing import ListQuery
from statera.store.amphorae import list_amphorae, remove_amphora
from statera.store.claims import mark_due
from statera.store.drains import forget_host
from statera.store.spares import add_spare, condemn_spare, confirm_spare, list_spares
from statera.store.views import list_views
from tests.control.room import Room, is_active
from tests.control.test_chores import make_chores

NONE = ListQuery(filters={})


def ask_for(room: Room, per_host: int) -> SparePool:
    """Give a room with two hosts and the option for so many spares; return what keeps the pool."""
    room.compute = FakeCompute("one", "two")
    compute = msgspec.structs.replace(room.settings.compute, spares_per_host=per_host)
    room.settings = msgspec.structs.replace(room.settings, compute=compute)
    room.reconciler = room.make_reconciler()
    return SparePool(room.around)


async def count_ready(room: Room) -> dict[str, int]:
    ready = [spare.host for spare in await list_spares(room.store) if spare.is_ready]
    return {host: ready.count(host) for host in ("one", "two")}


async def test_a_load_balancer_takes_a_spare_and_the_pool_is_refilled(room: Room) -> None:
    pool = ask_for(room, 2)
    await pool.refill()
    assert await count_ready(room) == {"one": 2, "two": 2}
    before = set(room.compute.list_sandboxes())
    tree = await room.create()
    await room.run_pass()
    assert is_active(await room.show(tree))
    [amphora] = await room.amphorae(tree)
    assert amphora.id in before
    assert room.compute.list_sandboxes()[amphora.id].haproxy_running
    assert [event.what for event in await room.history(tree) if "Take spare" in event.what]
    assert sum((await count_ready(room)).values()) == 3
    await pool.refill()
    assert await count_ready(room) == {"one": 2, "two": 2}
    assert amphora.id not in {spare.id for spare in await list_spares(room.store)}
    await room.delete(tree)
    await room.run_pass()
    await ask_for_none(room)
    await room.assert_nothing_left(tree)


async def test_a_spare_that_its_host_has_lost_is_built_anew(room: Room) -> None:
    pool = ask_for(room, 1)
    await pool.refill()
    lost = room.compute.hosts["one"].sandboxes.popitem()[0]
    room.compute.hosts["two"].reachable = False
    await pool.drop_lost()
    await pool.refill()
    room.compute.hosts["two"].reachable = True
    assert await count_ready(room) == {"one": 1, "two": 1}
    assert lost not in {spare.id for spare in await list_spares(room.store)}
    assert set(room.compute.list_sandboxes()) == {spare.id for spare in await list_spares(room.store)}
    await ask_for_none(room)


async def test_spares_of_a_host_that_is_gone_for_good_are_gone_too(room: Room) -> None:
    pool = ask_for(room, 1)
    await pool.refill()
    room.compute.hosts["one"].reachable = False
    await pool_of(room, 0).refill()
    assert [spare.host for spare in await list_spares(room.store)] == ["one"]
    await forget_host(room.store, "one", "operator")
    await pool.refill()
    assert await count_ready(room) == {"one": 0, "two": 1}
    assert [spare.host for spare in await list_spares(room.store)] == ["two"]


async def test_a_spare_that_was_removed_since_the_backup_makes_room_for_another(room: Room) -> None:
    pool = ask_for(room, 1)
    await add_spare(room.store, removed := new_id(), "one")
    await room.compute.remove_amphora("one", removed, epoch=REMOVAL_EPOCH)
    for _ in range(3):
        await pool.refill()
    assert await count_ready(room) == {"one": 1, "two": 1}
    assert removed not in {spare.id for spare in await list_spares(room.store)}


async def test_a_spare_that_was_taken_since_the_backup_is_left_to_the_operator(room: Room) -> None:
    """The database is set back to when it was a spare: it serves, so it stays, but nobody takes it for a spare."""
    pool = ask_for(room, 1)
    amphora = await take_and_forget(room, pool)
    await pool.drop_lost()
    await pool.refill()
    assert amphora.id not in {spare.id for spare in await list_spares(room.store)}
    assert amphora.id in room.compute.list_sandboxes()
    await pool.refill()
    assert await count_ready(room) == {"one": 1, "two": 1}


async def test_nobody_takes_a_spare_that_was_taken_since_the_backup(room: Room) -> None:
    """Not even before its host was asked for all that it has: the VIP of the first would be left on it."""
    amphora = await take_and_forget(room, ask_for(room, 1))
    for spare in await list_spares(room.store):
        if spare.id != amphora.id:
            await condemn_spare(room.store, spare.id)
    tree = await room.create()
    await room.run_pass()
    assert is_active(await room.show(tree))
    assert amphora.id not in {one.id for one in await room.amphorae(tree)}
    assert room.compute.list_sandboxes()[amphora.id].spec.load_balancer_id == amphora.load_balancer_id
    assert not any(spare.is_ready for spare in await list_spares(room.store) if spare.id == amphora.id)


async def test_nobody_takes_a_spare_that_its_host_has_lost(room: Room) -> None:
    pool = ask_for(room, 1)
    await pool.refill()
    for host in room.compute.hosts.values():
        host.sandboxes.clear()
    lost = {spare.id for spare in await list_spares(room.store)}
    tree = await room.create()
    await room.run_pass()
    assert is_active(await room.show(tree))
    assert lost.isdisjoint(one.id for one in await room.amphorae(tree))


async def take_and_forget(room: Room, pool: SparePool) -> Amphora:
    """Have a load balancer take a spare, and set the database back to before; return what it was when it served."""
    await pool.refill()
    tree = await room.create()
    await room.run_pass()
    [amphora] = await room.amphorae(tree)
    await mark_due(room.store, [tree.load_balancer.id])
    await remove_amphora(room.store, await room.claim(), amphora.id)
    await add_spare(room.store, amphora.id, amphora.host)
    await confirm_spare(room.store, amphora.id)
    return amphora


async def ask_for_none(room: Room) -> None:
    await pool_of(room, 0).refill()
    assert await list_spares(room.store) == ()


async def test_many_workers_take_each_spare_once(room: Room) -> None:
    pool = ask_for(room, 3)
    await pool.refill()
    trees = [await room.create() for _ in range(8)]
    claims = [await room.claim() for _ in trees]
    workers = [room.make_reconciler() for _ in trees]
    await asyncio.gather(*(worker.run_pass(claim) for worker, claim in zip(workers, claims, strict=True)))
    for tree in trees:
        shown = await room.show(tree)
        if not is_active(shown):
            await room.run_pass(tree)
    rows = await list_amphorae(room.store)
    assert len(rows) == len({row.load_balancer_id for row in rows}) == 8
    assert set(room.compute.list_sandboxes()) == {row.id for row in rows} | {
        spare.id for spare in await list_spares(room.store)
    }


@pytest.mark.parametrize("method", ["ensure_amphora", "remove_amphora", "observe_hosts"])
async def test_a_refill_that_was_cut_off_is_taken_up(room: Room, method: str) -> None:
    pool = ask_for(room, 1)
    room.compute.fail_next(method, Transient("agent-unreachable", "It does not answer."))
    try:
        await pool.refill()
    except Transient:
        assert method == "observe_hosts"
    await pool.refill()
    assert await count_ready(room) == {"one": 1, "two": 1}
    if method == "remove_amphora":
        await pool_of(room, 0).refill()
        assert len(await list_spares(room.store)) == 1
    await ask_for_none(room)
    assert room.compute.list_sandboxes() == {}


def pool_of(room: Room, per_host: int) -> SparePool:
    compute = msgspec.structs.replace(room.settings.compute, spares_per_host=per_host)
    settings = msgspec.structs.replace(room.settings, compute=compute)
    return SparePool(msgspec.structs.replace(room.around, settings=settings))


async def test_spares_are_shown_and_are_no_orphans(room: Room) -> None:
    pool = ask_for(room, 1)
    await pool.refill()
    page = await list_views(room.store, Amphora, NONE)
    shown = [(view.resource.status, view.resource.load_balancer_id, view.vip) for view in page.items]  # type: ignore[union-attr]
    assert shown == [(AmphoraStatus.READY, "", None)] * 2
    assert await list_amphorae(room.store) == ()
    chores = make_chores(room)
    memory = dict(await chores.sweep_orphans({}))
    assert memory == {}


async def test_housekeeping_refills(room: Room) -> None:
    ask_for(room, 1)
    async with room.control(2), asyncio.timeout(20):
        while (await count_ready(room)) != {"one": 1, "two": 1}:
            await asyncio.sleep(0.02)
