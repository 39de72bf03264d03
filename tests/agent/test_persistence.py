"""Clients stay with their member over a reload."""

import re

import pytest

from statera.agent.host import AmphoraHost
from statera.agent.runtime import ask
from statera.model.enums import PersistenceType
from tests.agent.ground import Ground, eventually

pytestmark = pytest.mark.root


async def test_a_reload_keeps_who_belongs_to_whom(host: AmphoraHost, ground: Ground) -> None:
    """A worker hands its table on as soon as it has learnt that there was none before it, some 5 s after the start."""
    await host.ensure(ground.request())
    generation = 0

    async def load() -> None:
        nonlocal generation
        generation += 1
        document = ground.document([8080, 8081], monitored=generation % 2 == 0, persistence=PersistenceType.SOURCE_IP)
        await host.apply(ground.amphora_id, ground.configuration(document, generation))

    await load()
    stats = host.sandboxes[ground.amphora_id].folders.live / "stats"
    table = f"{ground.pool_id}:{ground.listener_id}"

    async def has_learnt() -> bool:
        # Both bits: nothing more to learn from an old worker, nor from a peer (`show peers`, flags of the section).
        flags = re.search(r"id=own disabled=0 flags=0x([0-9a-f]+)", await ask(stats, "show peers"))
        return flags is not None and int(flags[1], 16) & 3 == 3

    await eventually(has_learnt, "The end of learning")
    await ask(stats, f"set table {table} key ::ffff:192.0.2.9 data.server_id 2")
    await load()

    async def is_kept() -> bool:
        return "192.0.2.9" in await ask(stats, f"show table {table}")

    await eventually(is_kept, "The entry after a reload")
