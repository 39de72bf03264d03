"""Settings of the machine's kernel that many amphorae need larger than it has them at first: raised, never lowered."""

from collections.abc import Mapping
from pathlib import Path

from statera.base.logging import get_logger

log = get_logger("agent")


def read_setting(place: Path) -> int | None:
    """Return a number below /proc/sys, None in a network namespace of one's own, where it may not be seen."""
    try:
        return int(place.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def raise_settings(numbers: Mapping[Path, int], command: str) -> None:
    """Write numbers below /proc/sys, in this order. Where they may not be, the log has the command that does it."""
    try:
        for place, number in numbers.items():
            place.write_text(str(number), encoding="ascii")
    except OSError as error:
        log.warning("the kernel stays too small for many amphorae", command=command, error=str(error))
    else:
        log.info("the kernel was prepared for many amphorae", command=command)


def sum_column(rows: list[str], column: int) -> int:
    """Return the sum over all processors, each of which has a row of hexadecimal numbers (/proc/net/softnet_stat)."""
    return sum(int(row.split()[column], 16) for row in rows)
