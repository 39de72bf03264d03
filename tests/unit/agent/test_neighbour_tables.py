"""The kernel's tables of neighbours are as large as a host's amphorae need, and never made smaller."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statera.agent.capacity import decide_capacity, judge_neighbours
from statera.agent.neighbour_tables import (
    MOST_ENTRIES,
    Table,
    count_needed,
    count_refused,
    decide_table,
    list_tables,
    raise_tables,
)

FIRST = Table(family="ipv6", soft=512, hard=1024)
"""As every kernel has it at first."""
SIZES = st.integers(0, 2**31 - 1)


def test_a_thousand_get_what_they_need_and_as_much_again() -> None:
    wanted = decide_table(FIRST, 1000)
    assert (wanted.soft, wanted.hard) == (12_128, 24_256)
    assert wanted.command == "sysctl -w net.ipv6.neigh.default.gc_thresh2=12128 net.ipv6.neigh.default.gc_thresh3=24256"
    assert decide_table(wanted, 1000) == wanted


@given(SIZES, SIZES, SIZES)
def test_no_table_is_made_smaller_or_endless(soft: int, hard: int, amphorae: int) -> None:
    there = Table(family="ipv4", soft=soft, hard=hard)
    wanted = decide_table(there, amphorae)
    assert soft <= wanted.soft <= max(soft, MOST_ENTRIES)
    assert hard <= wanted.hard <= max(hard, MOST_ENTRIES)
    assert wanted.hard >= min(count_needed(amphorae), MOST_ENTRIES)


def test_a_table_that_stays_small_bounds_the_host_and_is_named() -> None:
    allowed = decide_capacity(10, 1000, judge_neighbours([FIRST], 10))
    assert allowed.limit == 74
    assert "1024 neighbours (net.ipv6.neigh.default.gc_thresh3)" in allowed.why
    # Whatever stands there already.
    assert decide_capacity(74, 1000, judge_neighbours([FIRST], 74)).limit == 74
    assert decide_capacity(200, 1000, judge_neighbours([FIRST], 200)).limit == 200
    assert decide_capacity(10, 1000, judge_neighbours([decide_table(FIRST, 1000)], 10)).limit == 1000


def _write(folder: Path, family: str, soft: int, hard: int) -> Path:
    place = folder / family / "neigh/default"
    place.mkdir(parents=True)
    for number, value in ((2, soft), (3, hard)):
        (place / f"gc_thresh{number}").write_text(f"{value}\n")
    return place


def test_small_ones_are_raised_and_large_ones_left(tmp_path: Path) -> None:
    _write(tmp_path, "ipv4", 512, 100_000)
    _write(tmp_path, "ipv6", 512, 1024)
    raise_tables(1000, tmp_path)
    ipv4, ipv6 = list_tables(tmp_path)
    assert (ipv4.soft, ipv4.hard) == (12_128, 100_000)
    assert ipv6 == decide_table(FIRST, 1000)


def test_a_kernel_without_one_or_that_takes_nothing_is_no_fault(tmp_path: Path) -> None:
    raise_tables(1000, tmp_path)
    assert list_tables(tmp_path) == []
    place = _write(tmp_path, "ipv6", 512, 1024)
    # A folder in its place cannot be written by anybody.
    (place / "gc_thresh3").unlink()
    (place / "gc_thresh3").mkdir()
    raise_tables(1000, tmp_path)
    assert (place / "gc_thresh2").read_text() == "512\n"


def test_this_machine_tells_of_its_own() -> None:
    tables = list_tables()
    # In a network namespace of one's own there is nothing to see.
    is_seen = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3").exists()
    assert ("ipv4" in [table.family for table in tables]) == is_seen
    assert all(table.hard > 0 and count_refused(table.family) >= 0 for table in tables)


@pytest.mark.parametrize(("family", "refused"), [("ipv6", 0x607 + 0x5B8), ("ipv4", 0)])
def test_refusals_of_all_processors_are_counted(tmp_path: Path, family: str, refused: int) -> None:
    rows = ["entries  allocs  table_fulls", "00000356 0000b03b 00000607", "00000356 0000eff5 000005b8"]
    (tmp_path / "ndisc_cache").write_text("\n".join(rows))
    assert count_refused(family, tmp_path) == refused
