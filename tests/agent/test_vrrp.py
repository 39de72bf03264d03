"""Two sandboxes share the VIPs: keepalived moves them when one dies, and never leaves them in two places."""

import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from statera.agent.host import AmphoraHost
from tests.agent.ground import Ground, eventually, fetch, web_server
from tests.agent.pair import Pair

pytestmark = [pytest.mark.root]


@pytest_asyncio.fixture
async def pair(ground: Ground, host: AmphoraHost) -> AsyncIterator[Pair]:
    with web_server() as port:
        made = Pair(ground, host)
        await made.build(port)
        yield made


async def test_one_has_the_vips_and_answers_for_both_families(pair: Pair):
    await eventually(pair.has_one_master, "one master")
    assert await fetch(pair.ground.vip) == str(pair.port)
    assert await fetch(pair.ground.vip6) == str(pair.port)


async def test_a_dead_haproxy_gives_the_vips_up_and_does_not_take_them_back(pair: Pair):
    await eventually(pair.has_one_master, "one master")
    first, second = await pair.order()
    pid = pair.sandbox(first).engine.find_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def has_moved() -> bool:
        return pair.masters() == [second]

    await eventually(has_moved, "the VIPs at the other one")
    assert await fetch(pair.ground.vip) == str(pair.port)

    async def is_back() -> bool:
        return pair.sandbox(first).is_running

    await eventually(is_back, "the HAProxy that was killed")
    assert pair.masters() == [second]
