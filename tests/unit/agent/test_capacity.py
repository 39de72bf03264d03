"""How many amphorae a machine carries follows from what is left of it."""

import resource
from pathlib import Path

import pytest

from statera.agent.capacity import (
    Capacity,
    Left,
    decide_capacity,
    judge_memory,
    raise_descriptors,
    read_capacity,
)


def left(free: int, *, limit: str = "files", of_one: int = 8, kept: int = 100) -> Left:
    return Left(limit=limit, free=free, of_one=of_one, kept=kept)


@pytest.mark.parametrize(
    ("count", "given", "limit", "why"),
    [
        (0, (), 50, ""),
        (10, (left(100_000),), 50, ""),
        (10, (left(100 + 40 * 8),), 50, ""),
        (10, (left(100 + 40 * 8 - 1),), 49, "files, and 419 are left"),
        (10, (left(107),), 10, "files, and 107 are left"),
        # Nobody who is here has to go.
        (10, (left(0),), 10, "files, and 0 are left"),
        (10, (left(-3),), 10, "files, and -3 are left"),
        (10, (left(200), left(112, limit="processes", of_one=6)), 12, "processes, and 112 are left"),
        (60, (left(0),), 50, ""),
    ],
)
def test_the_scarcest_decides_unless_the_option_does(count: int, given: tuple[Left, ...], limit: int, why: str) -> None:
    assert decide_capacity(count, 50, given) == Capacity(limit=limit, why=why)


def tell_memory(available_mib: int) -> str:
    names = ("MemTotal", "MemFree", "MemAvailable", "SwapFree")
    figures = (2048, 100, available_mib, 4096)
    return "".join(f"{name}:{mib * 1024:>15} kB\n" for name, mib in zip(names, figures, strict=True))


@pytest.mark.parametrize(("available_mib", "limit"), [(2000, 50), (286, 13), (265, 10), (100, 10)])
def test_a_machine_without_memory_takes_no_more(available_mib: int, limit: int) -> None:
    found = decide_capacity(10, 50, list(judge_memory(tell_memory(available_mib))))
    assert found.limit == limit
    why = f"the machine has 2048 MiB of memory (MemAvailable), and {available_mib} are left"
    assert found.why == (why if limit < 50 else "")


@pytest.mark.parametrize("told", ["", "MemTotal: 12 kB", "MemTotal: x kB\nMemAvailable: y kB"])
def test_memory_that_nobody_tells_of_bounds_nothing(told: str) -> None:
    assert list(judge_memory(told)) == []


def test_this_machine_tells_what_it_has() -> None:
    told = Path("/proc/meminfo").read_text(encoding="ascii")
    assert [one.free > 0 for one in judge_memory(told)] == [True]
    assert read_capacity(3, 3) == Capacity(limit=3)
    endless = read_capacity(0, 2**62)
    assert 0 < endless.limit < 2**62
    assert endless.why


def test_a_process_may_open_what_it_may_ask_for() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        assert read_capacity(0, 10**6).limit <= 512 // 8
        raise_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
