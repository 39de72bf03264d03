"""How many amphorae this machine can carry beside `agent.amphora_limit`: what is left of descriptors, processes,
memory, network namespaces and entries of the kernel's tables of neighbours.

Whoever notices only when the kernel refuses has half a sandbox then, and can tell a tenant nothing but an error number.
Of memory it would not even refuse: it ends the HAProxies of others.
"""

import contextlib
import os
import re
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from statera.agent.neighbour_tables import ENTRIES_KEPT, ENTRIES_OF_ONE, Table, list_tables

DESCRIPTORS_OF_ONE, DESCRIPTORS_KEPT = 8, 128
"""Of the agent itself: what it holds for one amphora at most, and what it needs to build and to answer."""
FILES_OF_ONE, FILES_KEPT = 128, 2048
"""Of all processes of the machine: those of an idle amphora, and what is left to others."""
PROCESSES_OF_ONE, PROCESSES_KEPT = 6, 128
"""HAProxy and keepalived are two each, and an old worker stays while it has connections."""
MEMORY_OF_ONE_MIB, MEMORY_KEPT_MIB = 10, 256
"""An amphora alone takes 8 MiB and its keepalived 4, among many less; the control processes are there already."""
NAMESPACES, NAMESPACES_LIMIT = Path("/run/netns"), Path("/proc/sys/user/max_net_namespaces")
NAMESPACES_KEPT = 16
"""Those without a name, such as containers', are not counted: the kernel tells at last (`namespace.py`)."""
GROUPS = Path("/sys/fs/cgroup")


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """How much of something nobody uses, and how much of it an amphora takes; `kept` is left to everything else."""

    limit: str
    """What bounds it, in words."""
    free: int
    of_one: int
    kept: int

    @property
    def room(self) -> int:
        return max(0, (self.free - self.kept) // self.of_one)


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Most amphorae of this host, with those that are here; `why` says what allows no more, "" for the option."""

    limit: int
    why: str = ""


def decide_capacity(count: int, configured: int, left: Sequence[Left]) -> Capacity:
    """Return how many amphorae there may be where `count` are."""
    least = min(left, key=lambda one: one.room, default=None)
    if least is None or count + least.room >= configured:
        return Capacity(limit=configured)
    return Capacity(limit=count + least.room, why=f"{least.limit}, and {least.free} are left")


def read_capacity(count: int, configured: int) -> Capacity:
    """Look at the machine as it is now."""
    return decide_capacity(count, configured, list(_list_left(count)))


def judge_memory(told: str) -> Iterator[Left]:
    """Yield what `/proc/meminfo` says is left, nothing if it does not. What could be swapped out does not count."""
    found = dict(re.findall(r"^(MemTotal|MemAvailable):\s+([0-9]{1,18}) kB$", told, re.MULTILINE))
    if len(found) == 2:
        limit = f"the machine has {int(found['MemTotal']) // 1024} MiB of memory (MemAvailable)"
        free = int(found["MemAvailable"]) // 1024
        yield Left(limit=limit, free=free, of_one=MEMORY_OF_ONE_MIB, kept=MEMORY_KEPT_MIB)


def judge_neighbours(tables: Sequence[Table], count: int) -> list[Left]:
    """Return what `count` amphorae leave of the tables. They may use less now: until all are asked at once."""
    return [
        Left(
            limit=f"the machine may know {table.hard} neighbours ({table.option})",
            free=table.hard - count * ENTRIES_OF_ONE,
            of_one=ENTRIES_OF_ONE,
            kept=ENTRIES_KEPT,
        )
        for table in tables
    ]


def raise_descriptors() -> None:
    """Let this process open as many files as it may ask for: what it is given at first is often 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _list_left(count: int) -> Iterator[Left]:
    may, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if may != resource.RLIM_INFINITY:
        limit = f"its agent may open {may} files (RLIMIT_NOFILE)"
        free = may - len(os.listdir("/proc/self/fd"))
        yield Left(limit=limit, free=free, of_one=DESCRIPTORS_OF_ONE, kept=DESCRIPTORS_KEPT)
    with contextlib.suppress(OSError, ValueError):
        used, _, most = map(int, _read("/proc/sys/fs/file-nr").split())
        limit = f"the machine may have {most} files open (fs.file-max)"
        yield Left(limit=limit, free=most - used, of_one=FILES_OF_ONE, kept=FILES_KEPT)
    for limit, free in _list_free_processes():
        yield Left(limit=limit, free=free, of_one=PROCESSES_OF_ONE, kept=PROCESSES_KEPT)
    with contextlib.suppress(OSError, ValueError):
        yield from judge_memory(_read("/proc/meminfo"))
    with contextlib.suppress(OSError, ValueError):
        most = int(_read(NAMESPACES_LIMIT))
        limit = f"the machine may have {most} network namespaces (user.max_net_namespaces)"
        yield Left(limit=limit, free=most - len(os.listdir(NAMESPACES)), of_one=1, kept=NAMESPACES_KEPT)
    yield from judge_neighbours(list_tables(), count)


def _list_free_processes() -> Iterator[tuple[str, int]]:
    with contextlib.suppress(OSError, ValueError, IndexError):
        used = int(_read("/proc/loadavg").split()[3].split("/")[1])
        for name in ("pid_max", "threads-max"):
            most = int(_read(f"/proc/sys/kernel/{name}"))
            yield f"the machine may have {most} processes and threads (kernel.{name})", most - used
    for folder in _list_groups():
        # The root has no limit, and "max" is none.
        with contextlib.suppress(OSError, ValueError):
            most, used = int(_read(folder / "pids.max")), int(_read(folder / "pids.current"))
            yield f"its control group may have {most} processes and threads (pids.max, TasksMax)", most - used


def _list_groups() -> Iterator[Path]:
    """Yield the control groups of this process that may bound processes, of version 1 or 2, up to the root."""
    for line in _read("/proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or controllers == "pids":
            place = Path(path.lstrip("/"))
            for one in (place, *place.parents):
                yield GROUPS / controllers / one


def _read(path: str | Path) -> str:
    return Path(path).read_text(encoding="ascii").strip()
