"""What one load balancer may take from the others of its host: its share of processor time and memory, and no more."""

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from statera.agent import cgroups
from statera.agent.host import AmphoraHost
from tests.agent.ground import Ground, eventually, fetch, web_server

pytestmark = pytest.mark.root

CPU_PERCENT, MEMORY_MIB = 20, 64
BURN_S = 1.5
BURN = """
import os, time
end = time.monotonic() + {seconds}
while time.monotonic() < end: pass
print(sum(os.times()[:2]))
"""
EAT = "kept = bytearray()\nfor _ in range({mib}): kept += b'x' * 1048576"


async def _make(host: AmphoraHost, ground: Ground, port: int) -> list[Path]:
    """Build a sandbox with small limits; return the groups that its processes join."""
    request = ground.request()
    limits = msgspec.structs.replace(request.sandbox.limits, memory_mib=MEMORY_MIB, cpu_percent=CPU_PERCENT)
    sandbox = msgspec.structs.replace(request.sandbox, limits=limits)
    await host.ensure(msgspec.structs.replace(request, sandbox=sandbox))
    await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
    groups = cgroups.ensure_groups(ground.amphora_id, limits)
    if not groups:
        pytest.skip("this kernel has no control groups")
    return groups


def _run_in(groups: list[Path], program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the sandbox's groups, where HAProxy is, as one that was taken over would."""
    words = ["sh", "-c", 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"', "share"]
    words += [*map(str, groups), "--", sys.executable, "-S", "-c", program]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)


def _has_limit(groups: list[Path], *files: str) -> bool:
    return any((group.parent / file).exists() for group in groups for file in files)


async def test_haproxy_gets_no_more_than_its_share_of_a_core(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        groups = await _make(host, ground, port)
        pid = host.find(ground.amphora_id).engine.find_pid()  # type: ignore[union-attr]
        assert all(str(pid) in group.read_text().split() for group in groups)
        if not _has_limit(groups, "cpu.cfs_quota_us", "cpu.max"):
            pytest.skip("this kernel limits no processor time")
        used = float(_run_in(groups, BURN.format(seconds=BURN_S)).stdout)
        # A period or two more may be begun, and Python starts and ends in the share, too.
        assert used <= BURN_S * CPU_PERCENT / 100 + 0.3
        assert await fetch(ground.vip) == str(port)


async def test_who_takes_too_much_memory_dies_alone_and_comes_back(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        groups = await _make(host, ground, port)
        if not _has_limit(groups, "memory.limit_in_bytes", "memory.max"):
            pytest.skip("this kernel limits no memory")
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
