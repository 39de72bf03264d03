"""Control groups of a sandbox, made and removed on a real host."""

import asyncio
import os
import subprocess

import pytest

from statera.agent import cgroups
from tests.agent.ground import LIMITS, Ground
from tests.fixtures.control_groups import need

pytestmark = pytest.mark.root


async def test_a_group_whose_process_is_just_ending_is_removed(ground: Ground) -> None:
    groups = await asyncio.to_thread(cgroups.ensure_groups, ground.amphora_id, LIMITS)
    need(groups, "control groups")
    with subprocess.Popen(["sleep", "60"]) as process:
        for group in groups:
            group.write_text(str(process.pid))
        removing = asyncio.create_task(asyncio.to_thread(cgroups.remove_groups, ground.amphora_id))
        done, _ = await asyncio.wait({removing}, timeout=0.1)
        assert not done
        process.kill()
    await removing
    assert ground.list_leftovers() == []


async def test_a_group_that_comes_while_the_last_one_goes_has_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one takes the parent along."""
    monkeypatch.setattr(cgroups, "PARENT", f"statera-{os.getpid()}")

    made = await asyncio.to_thread(cgroups.ensure_groups, "one", LIMITS)
    need(made, "control groups")

    def come_and_go(name: str) -> int:
        lacking = 0
        for _ in range(500):
            folders = [path.parent for path in cgroups.ensure_groups(name, LIMITS)]
            files = ("memory.max", "memory.limit_in_bytes")
            is_limited = any((folder / file).exists() for folder in folders for file in files)
            lacking += not is_limited or len(folders) < len(made)
            cgroups.remove_groups(name)
        return lacking

    assert await asyncio.gather(*(asyncio.to_thread(come_and_go, name) for name in ("one", "two", "three"))) == [0] * 3
