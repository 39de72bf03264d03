"""Failovers, pass by pass: cut off anywhere, with hosts that fall silent, edits and deletes in between."""

import asyncio

import pytest

from statera.base.errors import Transient
from statera.drivers.fakes import FakeCompute, FakeHost
from statera.model.amphora import Amphora
from statera.model.edits import Terms, fail_over_amphora, fail_over_load_balancer
from statera.model.enums import AmphoraStatus
from statera.model.heartbeat import ListenerObserved, ListenerState
from statera.model.tree import Tree
from statera.store.statistics import load_listener_traffic
from tests.control.room import Room, is_active, reach
from tests.db.trees import edit_add, edit_rename, make_member

METHODS = ("observe_hosts", "ensure_amphora", "apply_configuration", "observe_metrics", "remove_amphora")


async def build(room: Room) -> tuple[Tree, Amphora]:
    tree = await room.create()
    await room.run_pass()
    [amphora] = await room.amphorae(tree)
    return tree, amphora


async def fail_over(room: Room, tree: Tree, *ids: str) -> None:
    known = [one.id for one in await room.amphorae(tree)]
    await room.edit(tree, fail_over_load_balancer(ids or known, Terms(now=room.clock.now())))


async def expect_one(room: Room, tree: Tree, *, without: str) -> Amphora:
    """Check that one other amphora serves, alone with the VIP, and nothing is left of the old one."""
    [amphora] = await room.amphorae(tree)
    assert amphora.id != without
    assert amphora.status == AmphoraStatus.ALLOCATED
    [(amphora_id, sandbox)] = room.compute.list_sandboxes().items()
    assert (amphora_id, sandbox.spec.interfaces[0].vips) == (amphora.id, (tree.load_balancer.vip.address,))
    assert sandbox.haproxy_running
    assert {port.device_id for port in await room.network.observe_ports()} == {tree.load_balancer.id, amphora.id}
    assert is_active(await room.show(tree))
    return amphora


async def test_a_load_balancer_moves_to_another_amphora(room: Room) -> None:
    room.compute = FakeCompute("one", "two")
    room.reconciler = room.make_reconciler()
    tree, old = await build(room)
    await fail_over(room, tree)
    assert not await room.run_pass()
    new = await expect_one(room, tree, without=old.id)
    assert new.host != old.host, "another host is better, if there is one"
    await room.run_pass(tree)
    assert await expect_one(room, tree, without=old.id) == new


async def test_what_the_old_one_counted_last_is_added_up(room: Room) -> None:
    tree, old = await build(room)
    listener_id = tree.listeners[0].id
    counted = ListenerObserved(listener_id, ListenerState.OPEN, 3, 10, 100, 1000, 1)
    room.compute.list_sandboxes()[old.id].counted = (counted,)
    await fail_over(room, tree)
    await room.run_pass()
    traffic = await load_listener_traffic(room.store, listener_id)
    assert (traffic.total_connections, traffic.bytes_out, traffic.active_connections) == (10, 1000, 0)


@pytest.mark.parametrize("method", METHODS)
async def test_a_pass_that_fails_anywhere_is_taken_up(room: Room, method: str) -> None:
    tree, old = await build(room)
    await fail_over(room, tree)
    for _ in range(2):
        room.compute.fail_next(method, Transient("agent-unreachable", "It does not answer."))
        await room.run_pass(tree)
    await room.run_pass(tree)
    await expect_one(room, tree, without=old.id)


async def test_edits_and_failovers_during_a_failover_converge(room: Room) -> None:
    tree, old = await build(room)
    await fail_over(room, tree)
    gate = room.compute.hold("apply_configuration")
    running = asyncio.create_task(room.run_pass())
    await reach(gate, running)
    member = make_member(tree.pools[0], 30)
    await room.edit(tree, edit_add(member))
    await fail_over(room, tree)
    [_, young] = await room.amphorae(tree)
    await room.edit(tree, fail_over_amphora(young.id, [old.id, young.id], Terms(now=room.clock.now())))
    gate.open()
    assert await running, "more work waits"
    await room.run_pass()
    new = await expect_one(room, tree, without=old.id)
    assert new.id != young.id
    assert member.id in room.compute.list_sandboxes()[new.id].text


async def test_a_delete_during_a_failover_leaves_nothing(room: Room) -> None:
    tree, _ = await build(room)
    await fail_over(room, tree)
    gate = room.compute.hold("ensure_amphora")
    running = asyncio.create_task(room.run_pass())
    await reach(gate, running)
    await room.delete(tree)
    gate.open()
    await running
    await room.run_pass()
    await room.assert_nothing_left(tree)


async def test_no_room_for_another_leaves_the_old_one_serving_the_newest_edits(room: Room) -> None:
    tree, old = await build(room)
    room.compute.hosts["one"].amphora_limit = 1
    room.reconciler = room.make_reconciler()
    await fail_over(room, tree)
    await room.edit(tree, edit_rename("other"))
    await room.run_pass()
    [kept] = await room.amphorae(tree)
    assert kept.id == old.id
    [sandbox] = room.compute.list_sandboxes().values()
    assert sandbox.configuration is not None
    assert sandbox.configuration.generation == 3
    shown = await room.show(tree)
    assert shown.load_balancer.reason is not None
    assert shown.load_balancer.reason.slug == "host-full"
    room.compute.hosts["one"].amphora_limit = 2
    room.reconciler = room.make_reconciler()
    await room.run_pass(tree)
    await expect_one(room, tree, without=old.id)


async def test_a_dead_hosts_amphora_is_left_behind_and_collected_when_the_host_is_back(room: Room) -> None:
    room.compute = FakeCompute("one", "two")
    room.reconciler = room.make_reconciler()
    tree, old = await build(room)
    dead: FakeHost = room.compute.hosts[old.host]
    dead.reachable = False
    await fail_over(room, tree)
    await room.run_pass()
    assert not is_active(await room.show(tree)), "heartbeats may still come: it might serve"
    assert all(not one.spec.interfaces[0].vips for host in room.compute.hosts.values() if host is not dead
               for one in host.sandboxes.values())  # fmt: skip
    room.clock.ahead_s += 60
    await room.run_pass(tree)
    assert is_active(await room.show(tree))
    assert [one.status for one in await room.amphorae(tree)] == [AmphoraStatus.PENDING_DELETE, AmphoraStatus.ALLOCATED]
    dead.reachable = True
    await room.run_pass(tree)
    await expect_one(room, tree, without=old.id)
