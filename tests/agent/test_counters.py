"""What HAProxy counts is asked over one connection, of the process that serves now; none that is to end is held up."""

import asyncio
import os
import re
import signal

import pytest

from statera.agent.counters import Counters
from statera.agent.host import AmphoraHost
from statera.agent.runtime import RuntimeUnavailable, ask, list_old_workers
from statera.agent.sandbox import Sandbox
from statera.agent.statistics import parse_process, parse_statistics
from statera.model.heartbeat import ListenerState
from tests.agent.ground import Ground, eventually, means

pytestmark = pytest.mark.root


async def build(host: AmphoraHost, ground: Ground) -> Sandbox:
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(ground.document([9])))
    sandbox = host.find(ground.amphora_id)
    assert sandbox is not None
    return sandbox


async def read_process(sandbox: Sandbox) -> int:
    return parse_process(await sandbox.engine.read_statistics())


async def reload(host: AmphoraHost, ground: Ground, listen: int) -> None:
    configuration = ground.configuration(ground.document([9], listen=listen), listen)
    assert means(await host.apply(ground.amphora_id, configuration)) == "reload"


async def list_leaving(sandbox: Sandbox) -> list[int]:
    return list_old_workers(await ask(sandbox.folders.live / "master", "show proc;quit"))


async def test_one_connection_serves_many_questions(host: AmphoraHost, ground: Ground) -> None:
    sandbox = await build(host, ground)
    stats = sandbox.folders.live / "stats"

    async def count_connections() -> int:
        found = re.search(r"^CumConns: (\d+)$", await ask(stats, "show info"), re.MULTILINE)
        assert found is not None
        return int(found[1])

    counters = Counters(stats)
    told = [await counters.read() for _ in range(3)]
    before = await count_connections()
    told += [await counters.read() for _ in range(20)]
    assert await count_connections() - before == 1, "Only the one that counts them."
    assert len({parse_process(one) for one in told}) == 1
    assert parse_process(told[0]) > 0
    assert all(len(parse_statistics(one)[0]) == len(parse_statistics(one)[1]) == 1 for one in told)
    both = await asyncio.gather(counters.read(), counters.read())
    assert {parse_process(one) for one in both} == {parse_process(told[0])}
    counters.let_go()


async def test_a_reload_is_followed_and_not_held_up(host: AmphoraHost, ground: Ground) -> None:
    sandbox = await build(host, ground)
    first = await read_process(sandbox)
    await reload(host, ground, 81)
    assert await read_process(sandbox) != first

    async def has_left() -> bool:
        return not await list_leaving(sandbox)

    await eventually(has_left, "The end of the old worker")


async def test_a_worker_that_is_leaving_is_not_asked_twice(host: AmphoraHost, ground: Ground) -> None:
    sandbox = await build(host, ground)
    first = await read_process(sandbox)
    # Somebody else's connection to the old worker: nobody lets go of it when the agent reloads.
    counters = Counters(sandbox.folders.live / "stats")
    assert parse_process(await counters.read()) == first
    await reload(host, ground, 81)
    told = await counters.read()
    assert parse_process(told) != first
    assert [one.status for one in parse_statistics(told)[0]] == [ListenerState.OPEN]
    counters.let_go()


async def test_who_follows_one_that_died_is_asked(host: AmphoraHost, ground: Ground) -> None:
    sandbox = await build(host, ground)
    first, pid = await read_process(sandbox), sandbox.engine.find_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def is_another() -> bool:
        try:
            return await read_process(sandbox) != first
        except RuntimeUnavailable:
            return False

    await eventually(is_another, "The next HAProxy")
