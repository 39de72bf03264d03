"""The ground of each agent test, and a host with its watch running."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from statera.agent.host import AmphoraHost
from tests.agent.ground import Ground


@pytest_asyncio.fixture
async def ground() -> AsyncIterator[Ground]:
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("makes network namespaces: needs root")
    made = Ground()
    try:
        yield made
    finally:
        await made.remove()


@pytest_asyncio.fixture
async def host(ground: Ground) -> AsyncIterator[AmphoraHost]:
    made = ground.make_host()
    await made.adopt()
    stop = asyncio.Event()
    watching = asyncio.create_task(made.watch(stop))
    try:
        yield made
    finally:
        stop.set()
        await watching
