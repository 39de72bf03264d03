"""What is not ours is left alone, and a database that was set back collects nothing."""

import datetime as dt

import pytest
import sqlalchemy as sa
from prometheus_client import Gauge

from statera.base.errors import Lasting, Transient
from statera.base.ids import new_id
from statera.base.secret import Secret
from statera.control.chores import Chores
from statera.control.sweep import FOREIGN, HELD, collect_strays, list_strays
from statera.model.spec import LimitsSpec, SandboxSpec
from statera.store.deployment import load_deployment
from tests.control.room import QUICK, Room

GRACE_S = QUICK.orphan_grace_s
LONG_S = 3 * GRACE_S


@pytest.fixture
def chores(room: Room) -> Chores:
    return Chores(room.around, name="me")


async def leave_sandbox(room: Room, deployment_id: str) -> str:
    limits = LimitsSpec(memory_mib=1, file_descriptors=1, cpu_percent=0, max_connections=1)
    sandbox = SandboxSpec(amphora_id=new_id(), load_balancer_id=new_id(), interfaces=(), limits=limits)
    key = Secret(b"key")
    await room.compute.ensure_amphora("one", sandbox, epoch=1, heartbeat_key=key, deployment_id=deployment_id)
    return sandbox.amphora_id


def read(metric: Gauge) -> float:
    return next(iter(metric.collect())).samples[0].value


async def sweep_for_long(room: Room, chores: Chores) -> None:
    memory: dict[str, dt.datetime] = {}
    for _ in range(3):
        memory = dict(await chores.sweep_orphans(memory))
        room.clock.ahead_s += LONG_S


async def set_back(room: Room, sweeps: int) -> None:
    """Do to the database what a backup does that is older by some sweeps."""
    await room.store.execute(sa.text("UPDATE deployment SET mark = mark - :sweeps"), {"sweeps": sweeps})


async def test_what_another_deployment_made_is_left_alone_and_counted(room: Room, chores: Chores) -> None:
    ours = (await load_deployment(room.store)).id
    foreign, orphan = await leave_sandbox(room, new_id()), await leave_sandbox(room, ours)
    await sweep_for_long(room, chores)
    assert set(room.compute.list_sandboxes()) == {foreign}
    assert read(FOREIGN) == 1
    assert [(stray.amphora.id, stray.is_foreign) for stray in await list_strays(room.store, room.compute)] == [
        (foreign, True)
    ]
    assert await collect_strays(room.store, room.compute, foreign=False) == []
    assert set(room.compute.list_sandboxes()) == {foreign}
    assert orphan not in room.compute.list_sandboxes()
    await collect_strays(room.store, room.compute, foreign=True)
    assert room.compute.list_sandboxes() == {}


async def test_what_workers_build_is_ours(room: Room, chores: Chores) -> None:
    await room.create()
    await room.run_pass()
    (built,) = room.compute.list_sandboxes().values()
    assert built.deployment_id == (await load_deployment(room.store)).id
    await sweep_for_long(room, chores)
    assert len(room.compute.list_sandboxes()) == 1
    assert await list_strays(room.store, room.compute) == []


@pytest.mark.parametrize("sweeps", [2, 1000])
async def test_a_database_that_was_set_back_collects_nothing_until_somebody_says_so(
    room: Room, chores: Chores, sweeps: int
) -> None:
    await sweep_for_long(room, chores)
    unknown = await leave_sandbox(room, (await load_deployment(room.store)).id)
    await set_back(room, sweeps)
    memory: dict[str, dt.datetime] = {unknown: room.clock.now() - dt.timedelta(seconds=LONG_S)}
    # Also when it has caught up with what hosts remember.
    for _ in range(4):
        with pytest.raises(Lasting, match="newer state of this database") as told:
            await chores.sweep_orphans(memory)
        room.clock.ahead_s += LONG_S
    assert told.value.reason.slug == "database-set-back"
    assert set(room.compute.list_sandboxes()) == {unknown}
    assert read(HELD) == 1
    (removed,) = await collect_strays(room.store, room.compute, foreign=False)
    assert (removed.host, removed.amphora.id, removed.is_foreign) == ("one", unknown, False)
    later = await leave_sandbox(room, (await load_deployment(room.store)).id)
    await sweep_for_long(room, chores)
    assert later not in room.compute.list_sandboxes()
    assert read(HELD) == 0


async def test_a_host_that_cannot_tell_what_it_remembers_loses_nothing(room: Room, chores: Chores) -> None:
    unknown = await leave_sandbox(room, "")
    for _ in range(3):
        room.compute.fail_next("mark_host", Transient("agent-unreachable", "It does not answer."))
    await sweep_for_long(room, chores)
    assert set(room.compute.list_sandboxes()) == {unknown}


async def test_a_host_that_remembers_what_no_database_came_to_holds_nobody_up(room: Room, chores: Chores) -> None:
    before = await load_deployment(room.store)
    for mark in (2**63 - 1, 2**70):
        await room.compute.mark_host("one", before.id, mark)
        await sweep_for_long(room, chores)
    after = await load_deployment(room.store)
    assert after.mark < before.mark + 100
    assert after.held_since is None
    assert read(HELD) == 0
