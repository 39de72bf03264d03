"""Replacements that nobody asked for, with a real database: on proof only, within the budget, never because of us."""

import asyncio

import msgspec
import pytest
import sqlalchemy as sa

from statera.base.errors import Lasting
from statera.base.reason import Reason
from statera.base.settings import FailoverSettings
from statera.drivers.fakes import FakeCompute
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus
from statera.model.observed import Silence
from statera.model.tree import Tree
from statera.store.failover import load_budget, save_silences
from tests.control.room import Room
from tests.control.test_failover import build, expect_one

MOST_PASSES = 20
"""Others that wait come due again and again, and may be claimed first."""


@pytest.fixture
def room(room: Room) -> Room:
    return furnish(room)


def furnish(room: Room, **failover: object) -> Room:
    """Give a room with three hosts and other options of failover."""
    room.compute = FakeCompute("one", "two", "three")
    options = msgspec.convert(failover, FailoverSettings)
    room.settings = msgspec.structs.replace(room.settings, failover=options)
    room.reconciler = room.make_reconciler()
    return room


async def silence(room: Room, *amphorae: Amphora) -> None:
    """Say what health says when it hears no more of them."""
    now = room.clock.now()
    told = [
        Silence(amphora_id=row.id, load_balancer_id=row.load_balancer_id, host=row.host, since=now) for row in amphorae
    ]
    await save_silences(room.store, told, [])


def lose(room: Room, *names: str, is_alive: bool = False) -> None:
    """Let hosts fall silent, or alone their agents, and forget what hosts said before."""
    for host in room.compute.hosts.values():
        host.reachable, host.is_alive = host.name not in names, is_alive
    room.reconciler = room.make_reconciler()


async def expect_waiting(room: Room, tree: Tree, slug: str) -> None:
    told = None
    for _ in range(MOST_PASSES):
        await room.run_pass(tree)
        reason = (await room.show(tree)).load_balancer.reason
        told = reason.slug if reason is not None else None
        if told == slug:
            break
    assert told == slug
    assert [one.status for one in await room.amphorae(tree)] == [AmphoraStatus.ALLOCATED]


async def spend(room: Room) -> int:
    return (await load_budget(room.store, room.reconciler._observer.failover_limits)).in_window


async def test_the_amphora_of_a_lost_host_is_replaced_and_collected_later(room: Room) -> None:
    tree, old = await build(room)
    lose(room, old.host)
    await expect_waiting(room, tree, "agent-unreachable")
    await silence(room, old)
    await room.run_pass(tree)
    left, fresh = await room.amphorae(tree)
    assert (left.id, left.status) == (old.id, AmphoraStatus.PENDING_DELETE)
    assert left.reason is not None
    assert left.reason.slug == "host-lost"
    assert (fresh.status, fresh.host != old.host) == (AmphoraStatus.ALLOCATED, True)
    told = [event for event in await room.history(tree) if event.what == f"Give up amphora {old.id}."]
    assert [event.reason.slug for event in told if event.reason] == ["host-lost"]
    assert await spend(room) == 1
    lose(room)
    await room.run_pass(tree)
    await expect_one(room, tree, without=old.id)


async def test_an_agent_alone_that_is_down_costs_nobody_the_amphora(room: Room) -> None:
    tree, old = await build(room)
    lose(room, old.host, is_alive=True)
    await silence(room, old)
    await expect_waiting(room, tree, "agent-down")
    assert await spend(room) == 0


async def test_a_cut_management_network_costs_nobody_the_amphora(room: Room) -> None:
    trees = [await build(room) for _ in range(3)]
    lose(room, *room.compute.hosts)
    await silence(room, *(row for _, row in trees))
    for tree, _ in trees:
        await expect_waiting(room, tree, "controller-cut-off")
    assert await spend(room) == 0


async def test_what_still_answers_on_its_network_is_not_replaced(room: Room) -> None:
    """One host's link to the controllers is cut, with its heartbeats; its clients are served."""
    tree, old = await build(room)
    room.compute.hosts[old.host].is_lost = False
    lose(room, old.host)
    await silence(room, old)
    await expect_waiting(room, tree, "amphora-answers")
    room.compute.hosts[old.host].is_lost = True
    await room.run_pass(tree)
    assert len(await room.amphorae(tree)) == 2


async def test_a_witness_that_sees_nobody_is_none(room: Room) -> None:
    del room.compute.hosts["three"]
    tree, old = await build(room)
    lose(room, old.host)
    room.compute.islands = {"one", "two"}
    await silence(room, old)
    await expect_waiting(room, tree, "network-not-asked")
    assert await spend(room) == 0


async def test_silence_that_nobody_tells_of_any_more_is_no_proof(room: Room) -> None:
    """So it is after the health processes have died, and when another of them has heard it since."""
    tree, old = await build(room)
    lose(room, old.host)
    await silence(room, old)
    await room.store.execute(sa.text("UPDATE silences SET told_at = now() - interval '1 min'"))
    await expect_waiting(room, tree, "agent-unreachable")
    await silence(room, old)
    await room.store.execute(sa.text("UPDATE amphorae SET last_heartbeat_at = now() + interval '5 s'"))
    await expect_waiting(room, tree, "agent-unreachable")
    await save_silences(room.store, [], [old.id])
    await expect_waiting(room, tree, "agent-unreachable")


async def test_a_host_of_which_others_are_heard_is_not_lost(room: Room) -> None:
    room = furnish(room)
    room.compute.hosts = {"one": room.compute.hosts["one"]}
    trees = [await build(room) for _ in range(2)]
    room.compute.hosts |= FakeCompute("two", "three").hosts
    lose(room, "one")
    (tree, old), (_, other) = trees
    await silence(room, old)
    await expect_waiting(room, tree, "host-still-heard")
    await silence(room, old, other)
    await room.run_pass(tree)
    assert len(await room.amphorae(tree)) == 2


async def test_the_budget_is_one_for_all_workers(room: Room) -> None:
    room = furnish(room, per_minute=3)
    one = room.compute.hosts
    room.compute.hosts = {"one": one["one"]}
    trees = [await build(room) for _ in range(6)]
    room.compute.hosts = one
    lose(room, "one")
    await silence(room, *(row for _, row in trees))
    workers = [room.make_reconciler() for _ in trees]
    claims = []
    for _ in trees:
        await room.store.execute(sa.text("UPDATE load_balancers SET due_at = now() - interval '1 s'"))
        claims.append(await room.claim())
    await asyncio.gather(*(worker.run_pass(claim) for worker, claim in zip(workers, claims, strict=True)))
    given_up = [tree for tree, _ in trees if len(await room.amphorae(tree)) == 2]
    assert len(given_up) == 3
    assert await spend(room) == 3
    waiting = [tree for tree, _ in trees if len(await room.amphorae(tree)) == 1]
    reasons = [(await room.show(tree)).load_balancer.reason for tree in waiting]
    assert [reason.slug for reason in reasons if reason] == ["replacement-budget-spent"] * 3
    await room.store.execute(sa.text("UPDATE replacements SET at = at - interval '2 min'"))
    await silence(room, *(row for _, row in trees))
    async with room.control(2), asyncio.timeout(20):
        while [tree for tree in waiting if len(await room.amphorae(tree)) == 1]:
            await asyncio.sleep(0.02)


async def test_what_its_host_cannot_mend_moves_to_another(room: Room) -> None:
    room = furnish(room, broken_after_s=5.0)
    tree, old = await build(room)
    sandbox = room.compute.list_sandboxes()[old.id]
    why = Reason(slug="engine-not-started", sentence="HAProxy does not start: no memory.")
    sandbox.haproxy_running, sandbox.broken_s, sandbox.reason = False, 300.0, why
    for _ in range(2):
        # After an outage of ours the host has waited for us, perhaps for long: we try to mend it first.
        room.compute.fail_next("apply_configuration", Lasting(why.slug, why.sentence))
        await room.run_pass(tree)
        assert [one.id for one in await room.amphorae(tree)] == [old.id]
    room.clock.ahead_s += 6.0
    await room.run_pass(tree)
    fresh = await expect_one(room, tree, without=old.id)
    assert fresh.host != old.host


async def test_a_host_lost_during_a_failover_is_no_obstacle(room: Room) -> None:
    """Both the amphora that is to go and the one that should follow it are on hosts that are lost one after another."""
    room.compute.hosts |= FakeCompute("four", "five").hosts
    tree, old = await build(room)
    lose(room, old.host)
    await silence(room, old)
    await room.run_pass(tree)
    _, young = await room.amphorae(tree)
    lose(room, old.host, young.host)
    await silence(room, old, young)
    await room.run_pass(tree)
    *_, new = await room.amphorae(tree)
    assert new.host not in (old.host, young.host)
    lose(room)
    await room.run_pass(tree)
    await expect_one(room, tree, without=young.id)
