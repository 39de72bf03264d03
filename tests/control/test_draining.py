"""A host is emptied by the workers, a few load balancers at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from statera.cli.hosts import describe
from statera.drivers.fakes import FakeCompute
from statera.store.drains import add_drain, list_drains, list_stays, remove_drain
from tests.control.room import DEADLINE_S, POLL_S, Room, is_active
from tests.db.trees import make_tree


async def wait_for(what: str, check: Callable[[], Awaitable[object]]) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await check():
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"{what} did not come") from None


async def test_everything_moves_off_a_host_and_nothing_comes_to_it(room: Room) -> None:
    room.compute = FakeCompute("one", "two")
    trees = [await room.create(make_tree()) for _ in range(4)]
    async with room.control():
        for tree in trees:
            await room.wait_settled(tree)
        assert "one" in {one.host for tree in trees for one in await room.amphorae(tree)}
        await add_drain(room.store, "one", "operator")

        async def is_empty() -> bool:
            return not await list_stays(room.store)

        await wait_for("An empty host", is_empty)
        late = await room.create(make_tree())
        for tree in [*trees, late]:
            await room.wait_settled(tree)
    for tree in [*trees, late]:
        assert {one.host for one in await room.amphorae(tree)} == {"two"}
    assert room.compute.hosts["one"].sandboxes == {}
    told = [event for tree in trees for event in await room.history(tree) if "is to leave host one" in event.what]
    assert told
    assert all(event.actor == "operator" and event.request_id.startswith("req-") for event in told)
    [drain] = await list_drains(room.store)
    assert describe((), drain) == ["Host one has no amphora any more."]


async def test_what_has_nowhere_to_go_stays_and_says_why(room: Room) -> None:
    tree = await room.create()
    async with room.control():
        await room.wait_settled(tree)
        await add_drain(room.store, "one", "operator")

        async def is_told() -> bool:
            return (await list_drains(room.store))[0].reason is not None

        await wait_for("The reason", is_told)
        [drain] = await list_drains(room.store)
        assert describe(await list_stays(room.store), drain) == [
            "1 left: 0 moving, 0 held up, 1 to come.",
            "  The others cannot move: No host can take an amphora: all that answer are being drained (one).",
        ]
        assert is_active(await room.show(tree)), "it was not even begun"
        assert await remove_drain(room.store, "one")
        assert not await remove_drain(room.store, "one")
    assert (await room.amphorae(tree))[0].host == "one"
