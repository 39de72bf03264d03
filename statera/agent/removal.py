"""What becomes of an amphora that is to go: another one gets its VIPs, then nothing of it is left."""

import asyncio
import time
from concurrent.futures import Executor

from statera.agent import cgroups, handover, namespace, process
from statera.agent.folders import AmphoraFolders
from statera.agent.vrrp import Keepalived
from statera.model.spec import SandboxSpec

YIELDED_WITHIN_S = 1.5
"""Until another one has taken the VIPs: three adverts and a little more, if there is one that wants them."""
HEARD_WITHIN_S = 0.3
"""Seconds in which neighbours have heard of a successor that has the VIPs."""
LOOK_AGAIN_S = 0.01
MOST_INTERFACES = 64


async def hand_over(spec: SandboxSpec, keepalived: Keepalived, waiting: Executor, deadline: float) -> None:
    """Give the VIPs up to a successor, where they still serve what has begun; `deadline` by `time.monotonic`.

    The wait for somebody else's answer is left to `waiting`. Raises `OSError`, `NetlinkError`.
    """
    await asyncio.to_thread(handover.keep_behind, spec)
    if spec.vrrp is not None:
        await _yield(spec, keepalived, min(deadline, time.monotonic() + YIELDED_WITHIN_S))
        await asyncio.to_thread(keepalived.stop)
    await asyncio.to_thread(handover.give_up, spec)
    # keepalived may have given them up before the successor has them; until neighbours have heard of that one, new
    # connections go on coming here.
    await asyncio.get_running_loop().run_in_executor(waiting, _wait_for_successor, spec, deadline)
    await asyncio.sleep(max(0.0, min(HEARD_WITHIN_S, deadline - time.monotonic())))


async def _yield(spec: SandboxSpec, keepalived: Keepalived, deadline: float) -> None:
    await asyncio.to_thread(keepalived.yield_to_others, spec)
    while namespace.has_vips(spec) and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_AGAIN_S)


def _wait_for_successor(spec: SandboxSpec, deadline: float) -> None:
    handover.wait_for_successor(spec, max(0.0, deadline - time.monotonic()))


async def remove_traces(amphora_id: str, folders: AmphoraFolders, spec: SandboxSpec | None) -> None:
    """Remove everything of an amphora, known or not."""
    await process.end_all(amphora_id)
    if not namespace.exists(amphora_id):
        await asyncio.to_thread(process.end_strays, amphora_id)
    names = [one.name for one in spec.interfaces] if spec else [f"eth{number}" for number in range(MOST_INTERFACES)]
    await asyncio.to_thread(namespace.remove_namespace, amphora_id, names)
    await asyncio.to_thread(cgroups.remove_groups, amphora_id)
    await asyncio.to_thread(folders.remove)
