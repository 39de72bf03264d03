"""How many packets may wait for a processor (linux, sysctl/net, `netdev_max_backlog`), one queue for each processor.

A bridge hands every broadcast, and every question for a neighbour, to all of its ports at once, and each copy waits in
the queue of one processor. With a thousand ports the thousand places that the kernel allows at first are taken by a
single question; the copies for the last ports are dropped, and whoever is behind them is never found.
"""

from pathlib import Path

from statera.base.logging import get_logger

log = get_logger("agent")

OPTION = "net.core.netdev_max_backlog"
PLACE = Path("/proc/sys") / OPTION.replace(".", "/")
COUNTERS = Path("/proc/net/softnet_stat")
AT_ONCE = 32
"""Questions for which there is room at the same time."""
MOST = 1 << 17


def decide_backlog(there: int, amphorae: int) -> int:
    """Return the length that a host with so many amphorae needs: never less than there is."""
    return max(there, min(amphorae * AT_ONCE, MOST))


def read_backlog(place: Path = PLACE) -> int | None:
    """Return the length, None in a network namespace of one's own, where it cannot be seen."""
    try:
        return int(place.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def raise_backlog(amphorae: int, place: Path = PLACE) -> None:
    """Make room for the questions of that many amphorae. Where it may not be made, the log says what to do."""
    there = read_backlog(place)
    if there is None or there == (wanted := decide_backlog(there, amphorae)):
        return
    try:
        place.write_text(str(wanted), encoding="ascii")
    except OSError as error:
        log.warning("few packets may wait for a processor", command=f"sysctl -w {OPTION}={wanted}", error=str(error))
    else:
        log.info("more packets may wait for a processor", what=OPTION, was=there, now=wanted)


def count_dropped(counters: Path = COUNTERS) -> int:
    """Return for how many packets there was no room since the machine was started."""
    try:
        # One row for each processor, in hexadecimal; the second column.
        return sum(int(row.split()[1], 16) for row in counters.read_text(encoding="ascii").splitlines())
    except (OSError, ValueError, IndexError):
        return 0
