"""A host that has left for good holds nothing up, once an operator has said so."""

import asyncio

import pytest

from statera.drivers.fakes import FakeCompute, FakeHost
from statera.model.tree import Tree
from statera.store.drains import forget_host, is_host_gone, remove_drain
from tests.control.room import DEADLINE_S, POLL_S, Room, is_settled
from tests.db.trees import make_tree


async def settle_on(room: Room, host: str, count: int) -> list[Tree]:
    """Make load balancers and return those whose amphora is on a host."""
    trees = [await room.create(make_tree()) for _ in range(count)]
    for tree in trees:
        await room.wait_settled(tree)
    found = [tree for tree in trees if {one.host for one in await room.amphorae(tree)} == {host}]
    assert found, f"nothing is on host {host}"
    return found


def lose(room: Room, how: str) -> FakeHost:
    """Let a host leave: out of the configuration, or silent for ever."""
    lost = room.compute.hosts["one"]
    if how == "not configured":
        del room.compute.hosts["one"]
    else:
        lost.reachable = False
    return lost


@pytest.mark.parametrize("how", ["not configured", "silent"])
async def test_deletions_end_and_the_rest_is_built_elsewhere(room: Room, how: str) -> None:
    room.compute = FakeCompute("one", "two")
    async with room.control():
        deleted, *others = await settle_on(room, "one", 6)
        lost = lose(room, how)
        await room.delete(deleted)
        await room.wait_until(deleted, "the reason", lambda tree: tree is not None and bool(tree.load_balancer.reason))
        assert await room.load(deleted) is not None
        await forget_host(room.store, "one", "operator")
        assert await is_host_gone(room.store, "one")
        await room.wait_gone(deleted)
        for tree in others:
            await wait_moved(room, tree)
    used = {port.device_id for port in await room.network.observe_ports()}
    assert deleted.load_balancer.id not in used
    assert used.isdisjoint(lost.sandboxes)


async def wait_moved(room: Room, tree: Tree) -> None:
    hosts: set[str] = set()
    try:
        # The chore that drains comes every few seconds.
        async with asyncio.timeout(DEADLINE_S):
            while hosts != {"two"} or not is_settled(await room.show(tree)):
                await asyncio.sleep(POLL_S)
                hosts = {one.host for one in await room.amphorae(tree)}
    except TimeoutError:
        raise AssertionError(f"amphorae are on {hosts}") from None


async def test_a_host_that_comes_back_loses_what_it_still_has_and_takes_new_ones(room: Room) -> None:
    room.compute = FakeCompute("one", "two")
    async with room.control():
        (tree, *_) = await settle_on(room, "one", 4)
        lost = lose(room, "silent")
        await forget_host(room.store, "one", "operator")
        await wait_moved(room, tree)
        lost.reachable = True
        late = await room.create(make_tree())
        await room.wait_settled(late)
        assert {one.host for one in await room.amphorae(late)} == {"two"}
        assert await remove_drain(room.store, "one")
        assert not await is_host_gone(room.store, "one")
