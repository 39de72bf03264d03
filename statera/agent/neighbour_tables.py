"""The kernel's tables of neighbours, one of ARP and one of IPv6, which all network namespaces of a machine share.

Whoever sends to an address on its own network needs an entry. In a full table it gets none, and its packets are dropped
without a word: load balancers that are whole do not answer. What the kernel allows at first, 1,024, is meant for one
namespace (linux, ip-sysctl, `gc_thresh2` and `gc_thresh3`; only the machine's own namespace shows and sets them).
"""

import contextlib
from pathlib import Path

import msgspec

from statera.agent.kernel_settings import raise_settings, read_setting, sum_column

SETTINGS, COUNTERS = Path("/proc/sys/net"), Path("/proc/net/stat")
CACHES = {"ipv4": "arp_cache", "ipv6": "ndisc_cache"}
ENTRIES_OF_ONE, ENTRIES_KEPT = 12, 128
"""For an amphora, and for all else. Ten were seen of an IPv6 one whose client and member are on its machine: five in
its own namespace (those two, and groups that IPv6 asks in), three in the client's and two in the member's."""
MOST_ENTRIES = 1 << 18
"""About 100 MiB of the kernel's memory. The limit is also what keeps a scan of a network from eating it up."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries it may have; beyond `soft` the kernel clears away what was not renewed for five seconds."""

    family: str
    soft: int
    hard: int

    @property
    def option(self) -> str:
        """What bounds it, as sysctl(8) calls it."""
        return f"net.{self.family}.neigh.default.gc_thresh3"

    @property
    def command(self) -> str:
        """What makes the kernel's table be so."""
        return f"sysctl -w {self.option.removesuffix('3')}2={self.soft} {self.option}={self.hard}"


def decide_table(there: Table, amphorae: int) -> Table:
    """Return the table as that many amphorae need it: never smaller, and twice what they need before it refuses."""
    needed = count_needed(amphorae)
    soft, hard = min(needed, MOST_ENTRIES // 2), min(2 * needed, MOST_ENTRIES)
    return Table(family=there.family, soft=max(there.soft, soft), hard=max(there.hard, hard))


def count_needed(amphorae: int) -> int:
    return amphorae * ENTRIES_OF_ONE + ENTRIES_KEPT


def list_tables(settings: Path = SETTINGS) -> list[Table]:
    """Return the tables of this machine; none in a network namespace of one's own, where they cannot be seen."""
    tables = []
    for family in CACHES:
        soft, hard = (read_setting(place) for place in _list_places(settings, family))
        if soft is not None and hard is not None:
            tables.append(Table(family=family, soft=soft, hard=hard))
    return tables


def raise_tables(amphorae: int, settings: Path = SETTINGS) -> None:
    """Let the kernel know all neighbours of that many amphorae. Where it may not be told, the log says what to do."""
    for there in list_tables(settings):
        wanted = decide_table(there, amphorae)
        if wanted != there:
            soft, hard = _list_places(settings, there.family)
            raise_settings({hard: wanted.hard, soft: wanted.soft}, wanted.command)


def _list_places(settings: Path, family: str) -> list[Path]:
    return [settings / family / f"neigh/default/gc_thresh{number}" for number in (2, 3)]


def count_refused(family: str, counters: Path = COUNTERS) -> int:
    """Return how often a full table has refused an entry since the machine was started."""
    with contextlib.suppress(OSError, ValueError):
        names, *rows = (counters / CACHES[family]).read_text(encoding="ascii").splitlines()
        return sum_column(rows, names.split().index("table_fulls"))
    return 0
