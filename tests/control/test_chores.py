"""Chores: what nobody knows is collected after its grace, histories stay short, one worker at a time."""

import asyncio
import datetime as dt

import msgspec
import pytest
import sqlalchemy as sa

from statera.base.errors import Transient
from statera.base.ids import new_id
from statera.base.secret import Secret
from statera.control.chores import Chores
from statera.model.network import VipRequest
from statera.model.spec import LimitsSpec, SandboxSpec
from statera.model.work import Event
from statera.store.chores import add_chores, claim_chore, list_chores, renew_chore, save_chore
from statera.store.engine import Store
from statera.store.events import add_event, list_events
from tests.control.room import QUICK, Room
from tests.db.trees import NOW

Memory = dict[str, dt.datetime]
GRACE_S = QUICK.orphan_grace_s


@pytest.fixture
def chores(room: Room) -> Chores:
    return make_chores(room)


def make_chores(room: Room, name: str = "me") -> Chores:
    return Chores(room.around, name=name)


async def leave_vip(room: Room) -> str:
    """Leave what an API process leaves that dies between the VIP and the row."""
    subnet = room.networks[0].subnets[0]
    load_balancer_id = new_id()
    await room.network.ensure_vip(
        VipRequest(load_balancer_id=load_balancer_id, network_id=subnet.network_id, addresses=((subnet.id, None),))
    )
    return load_balancer_id


async def leave_sandbox(room: Room, *, epoch: int = 7) -> str:
    """Leave a sandbox and its port that no row knows."""
    amphora_id = new_id()
    network = room.networks[0]
    await room.network.ensure_amphora_port(amphora_id, network.id, [network.subnets[0].id])
    limits = LimitsSpec(memory_mib=1, file_descriptors=1, cpu_percent=0, max_connections=1)
    sandbox = SandboxSpec(amphora_id=amphora_id, load_balancer_id=new_id(), interfaces=(), limits=limits)
    await room.compute.ensure_amphora("one", sandbox, epoch=epoch, heartbeat_key=Secret(b"key"))
    return amphora_id


async def sweep(
    room: Room, chores: Chores, unknown_since: dict[str, dt.datetime], after_s: float = 0.0
) -> dict[str, dt.datetime]:
    room.clock.ahead_s += after_s
    return dict(await chores.sweep_orphans(unknown_since))


async def test_orphans_are_collected_after_their_grace(room: Room, chores: Chores) -> None:
    tree = await room.create()
    await room.run_pass()
    known = await room.network.observe_ports()
    vip, box = await leave_vip(room), await leave_sandbox(room)
    memory = await sweep(room, chores, {})
    assert set(memory) == {vip, box}
    memory = await sweep(room, chores, memory, GRACE_S - 1)
    assert box in room.compute.list_sandboxes()
    assert len(await room.network.observe_ports()) == 4
    # The sandbox first: its address is free only when nothing has it any more.
    memory = await sweep(room, chores, memory, 2)
    assert box not in room.compute.list_sandboxes()
    assert {port.device_id for port in await room.network.observe_ports()} - {port.device_id for port in known} == {box}
    memory = await sweep(room, chores, memory)
    assert await room.network.observe_ports() == known
    assert await sweep(room, chores, memory) == {}
    assert len(room.compute.list_sandboxes()) == len(await room.amphorae(tree)) == 1


async def test_what_gets_its_row_in_time_is_no_orphan(room: Room, chores: Chores) -> None:
    box = await leave_vip(room)
    memory = await sweep(room, chores, {})
    assert set(memory) == {box}
    await room.network.remove_ports(box)
    tree = await room.create()
    await room.run_pass()
    assert await sweep(room, chores, memory, 2 * GRACE_S) == {}
    assert await sweep(room, chores, {}, 2 * GRACE_S) == {}
    assert len(room.compute.list_sandboxes()) == 1
    assert await room.load(tree) is not None


async def test_one_orphan_that_cannot_be_removed_does_not_hold_up_the_others(room: Room, chores: Chores) -> None:
    await leave_sandbox(room)
    await leave_sandbox(room)
    memory = await sweep(room, chores, {})
    room.compute.fail_next("remove_amphora", Transient("agent-unreachable", "no"))
    memory = await sweep(room, chores, memory, GRACE_S)
    assert len(room.compute.list_sandboxes()) == 1
    await sweep(room, chores, memory)
    assert room.compute.list_sandboxes() == {}


async def test_a_silent_host_does_not_stop_the_sweep(room: Room, chores: Chores) -> None:
    vip = await leave_vip(room)
    room.compute.hosts["one"].reachable = False
    memory = await sweep(room, chores, {})
    await sweep(room, chores, memory, GRACE_S)
    assert vip not in {port.device_id for port in await room.network.observe_ports()}


async def test_the_memory_goes_from_worker_to_worker(room: Room) -> None:
    box = await leave_sandbox(room)
    for number in range(3):
        chores = make_chores(room, f"worker {number}")
        await add_chores(room.store, list(chores._chores))
        await make_chores_due(room)
        while await chores.run_due():
            pass
        room.clock.ahead_s += GRACE_S
    assert box not in room.compute.list_sandboxes()
    assert await room.network.observe_ports() == ()


async def test_chores_run_beside_the_worker(store: Store) -> None:
    room = Room(store, options=msgspec.structs.replace(QUICK, orphan_grace_s=0.4))
    box = await leave_sandbox(room)
    async with room.control(2), asyncio.timeout(20):
        while box in room.compute.list_sandboxes() or await room.network.observe_ports():
            await asyncio.sleep(0.05)


async def test_a_failing_chore_says_why_and_comes_again(room: Room, chores: Chores) -> None:
    await add_chores(room.store, list(chores._chores))
    room.compute.fail_next("observe_hosts", Transient("agent-unreachable", "Nobody answers."))
    while await chores.run_due():
        pass
    told = {name: slug for name, slug in (await load_reasons(room)).items() if slug is not None}
    assert told == {"sweep-orphans": "agent-unreachable"}
    assert not await chores.run_due(), "not before its time"
    await make_chores_due(room)
    while await chores.run_due():
        pass
    assert set((await load_reasons(room)).values()) == {None}


async def test_operators_see_when_a_chore_was_done_and_why_it_failed(room: Room, chores: Chores) -> None:
    await add_chores(room.store, list(chores._chores))
    assert all(one.done_at is None for one in await list_chores(room.store))
    room.compute.fail_next("observe_hosts", Transient("agent-unreachable", "Nobody answers."))
    while await chores.run_due():
        pass
    told = {one.name: one for one in await list_chores(room.store)}
    assert all(one.done_at is not None and one.due_at > one.done_at for one in told.values())
    reason = told["sweep-orphans"].reason
    assert reason is not None
    assert reason.sentence == "Nobody answers."


async def test_old_events_go_however_few(room: Room, chores: Chores) -> None:
    tree = await room.create()
    at = room.clock.now() - dt.timedelta(days=91)
    old = Event(load_balancer_id=tree.load_balancer.id, generation=1, what="long ago", at=at)
    await add_event(room.store, old)
    await chores.trim_events({})
    assert [event.what for event in await list_events(room.store, tree.load_balancer.id)] == ["created"]


async def test_a_chore_is_claimed_by_one_until_its_lease_is_over(room: Room) -> None:
    await add_chores(room.store, ["a"])
    await add_chores(room.store, ["a", "b"])
    first = await claim_chore(room.store, ["a"], owner="one", lease_s=60)
    assert first is not None
    assert await claim_chore(room.store, ["a"], owner="two", lease_s=60) is None
    assert await renew_chore(room.store, first, lease_s=-1)
    second = await claim_chore(room.store, ["a"], owner="two", lease_s=60)
    assert second is not None
    assert not await renew_chore(room.store, first, lease_s=60)
    assert not await save_chore(room.store, first, next_s=0, memory={})
    assert await save_chore(room.store, second, next_s=0, memory={"x": NOW})
    third = await claim_chore(room.store, ["a"], owner="one", lease_s=60)
    assert third is not None
    assert third.memory == {"x": NOW}


async def test_histories_are_bounded(room: Room, chores: Chores) -> None:
    tree = await room.create()
    keep = room.settings.reconcile.events_per_load_balancer
    for number in range(keep + 5):
        event = Event(load_balancer_id=tree.load_balancer.id, generation=1, what=str(number), at=room.clock.now())
        await add_event(room.store, event)
    await chores.trim_events({})
    events = await list_events(room.store, tree.load_balancer.id, 10 * keep)
    assert len(events) == keep
    assert events[0].what == str(keep + 4)


async def make_chores_due(room: Room) -> None:
    await room.store.execute(sa.text("UPDATE chores SET due_at = now()"))


async def load_reasons(room: Room) -> dict[str, str | None]:
    rows = await room.store.execute(sa.text("SELECT name, reason ->> 'slug' AS slug FROM chores"))
    return {row.name: row.slug for row in rows}
