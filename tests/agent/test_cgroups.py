"""Control groups of a sandbox, made and removed on a real host."""

import asyncio
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
