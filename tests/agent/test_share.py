"""What one load balancer may take from the others of its host: its share of processor time and memory, and no more."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from statera.agent import cgroups
from statera.agent.host import AmphoraHost
from statera.base.ids import new_id
from tests.agent.ground import Ground, eventually, fetch, web_server
from tests.fixtures.control_groups import need

pytestmark = pytest.mark.root

CPU_PERCENT, MEMORY_MIB = 20, 64
BURN_S = 1.5
BURN = """
import os, time
end = {end}
while time.monotonic() < end: pass
print(sum(os.times()[:2]))
"""
EAT = "kept = bytearray()\nfor _ in range({mib}): kept += b'x' * 1048576"
RIVALS, SHARED_S = 6, 2.0
FAIR_LEAST = 0.35
"""Of what both sandboxes get of one core: half of it is fair, and one process among all would get a seventh."""


async def _make(host: AmphoraHost, ground: Ground, port: int) -> list[Path]:
    """Build a sandbox with small limits; return the groups that its processes join."""
    request = ground.request()
    limits = msgspec.structs.replace(request.sandbox.limits, memory_mib=MEMORY_MIB, cpu_percent=CPU_PERCENT)
    sandbox = msgspec.structs.replace(request.sandbox, limits=limits)
    await host.ensure(msgspec.structs.replace(request, sandbox=sandbox))
    await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
    groups = cgroups.ensure_groups(ground.amphora_id, limits)
    need(groups, "control groups")
    return groups


def _join(groups: list[Path], program: str) -> list[str]:
    """Return the words that run a program in a sandbox's groups, where HAProxy is, as one that was taken over would."""
    words = ["sh", "-c", 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"', "share"]
    return [*words, *map(str, groups), "--", sys.executable, "-S", "-c", program]


def _run_in(groups: list[Path], program: str) -> subprocess.CompletedProcess[str]:
    words = _join(groups, program)
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)


def _has_limit(groups: list[Path], *files: str) -> bool:
    return any((group.parent / file).exists() for group in groups for file in files)


async def test_haproxy_gets_no_more_than_its_share_of_a_core(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        groups = await _make(host, ground, port)
        pid = host.find(ground.amphora_id).engine.find_pid()  # type: ignore[union-attr]
        assert all(str(pid) in group.read_text().split() for group in groups)
        need(_has_limit(groups, "cpu.cfs_quota_us", "cpu.max"), "limits of processor time")
        used = float(_run_in(groups, BURN.format(end=time.monotonic() + BURN_S)).stdout)
        # A period or two more may be begun, and Python starts and ends in the share, too.
        assert used <= BURN_S * CPU_PERCENT / 100 + 0.3
        assert await fetch(ground.vip) == str(port)


async def test_a_sandbox_with_many_busy_processes_gets_no_more_than_another(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        request = ground.request()
        await host.ensure(request)
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        limits, rival_id = request.sandbox.limits, new_id()
        assert limits.cpu_percent == 0
        try:
            # Whatever weights they had before, they have the same afterwards.
            for one in (ground.amphora_id, rival_id):
                for weight in _find_weights(cgroups.ensure_groups(one, limits)):
                    weight.write_text("2" if one == ground.amphora_id else "5000", encoding="ascii")
            groups, rivals = (cgroups.ensure_groups(one, limits) for one in (ground.amphora_id, rival_id))
            weights = _find_weights([*groups, *rivals])
            need(len(weights) == 2, "weights of processor time")
            assert len({weight.read_text(encoding="ascii") for weight in weights}) == 1
            mine, theirs, answers = await _burn_side_by_side(groups, rivals, ground.vip)
        finally:
            cgroups.remove_groups(rival_id)
        assert answers == {str(port)}
        assert mine / (mine + theirs) > FAIR_LEAST, f"{mine:.2f} s, and {theirs:.2f} s of the one with many processes"


def _find_weights(groups: list[Path]) -> list[Path]:
    found = (group.parent / file for group in groups for file in ("cpu.shares", "cpu.weight"))
    return [path for path in found if path.exists()]


async def _burn_side_by_side(groups: list[Path], rivals: list[Path], vip: str) -> tuple[float, float, set[str]]:
    """Burn one core with one process here and `RIVALS` there; return the processor time of both, and the answers."""
    core = str(min(os.sched_getaffinity(0)))
    program = BURN.format(end=time.monotonic() + SHARED_S)
    words = [["taskset", "-c", core, *_join(place, program)] for place in (groups, *[rivals] * RIVALS)]
    burning = [subprocess.Popen(one, stdout=subprocess.PIPE, text=True) for one in words]
    try:
        answers = {await fetch(vip)}
        while burning[0].poll() is None:
            answers.add(await fetch(vip))
        mine, *theirs = (float(one.communicate(timeout=60)[0]) for one in burning)
    finally:
        for one in burning:
            one.kill()
            one.wait()
    return mine, sum(theirs), answers


async def test_who_takes_too_much_memory_dies_alone_and_comes_back(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        groups = await _make(host, ground, port)
        need(_has_limit(groups, "memory.limit_in_bytes", "memory.max"), "limits of memory")
        outside = subprocess.Popen(["sleep", "60"])
        try:
            before = time.monotonic()
            done = _run_in(groups, EAT.format(mib=MEMORY_MIB * 4))
            # Killed by the kernel, or HAProxy was: whoever it is, the next lines must hold.
            assert done.returncode != 0, f"{MEMORY_MIB * 4} MiB were given within {time.monotonic() - before:.1f} s"
            assert outside.poll() is None
        finally:
            outside.kill()
            outside.wait()

        async def serves() -> bool:
            return await fetch(ground.vip) == str(port)

        await eventually(serves, "The sandbox that was over its limit")
