"""How many packets may wait for a processor (linux, sysctl/net, `netdev_max_backlog`), one queue for each processor.

A bridge hands every broadcast, and every question for a neighbour, to all of its ports at once, and each copy waits in
the queue of one processor. With a thousand ports the thousand places that the kernel allows at first are taken by a
single question; the copies for the last ports are dropped, and whoever is behind them is never found.
"""

from pathlib import Path

from statera.agent.kernel_settings import raise_settings, read_setting, sum_column

OPTION = "net.core.netdev_max_backlog"
PLACE = Path("/proc/sys") / OPTION.replace(".", "/")
COUNTERS, DROPPED = Path("/proc/net/softnet_stat"), 1
AT_ONCE = 32
"""Questions for which there is room at the same time."""
MOST = 1 << 17


def decide_backlog(there: int, amphorae: int) -> int:
    """Return the length that a host with so many amphorae needs: never less than there is."""
    return max(there, min(amphorae * AT_ONCE, MOST))


def tell_command(wanted: int) -> str:
    """Return what makes the kernel's queues so long."""
    return f"sysctl -w {OPTION}={wanted}"


def read_backlog(place: Path = PLACE) -> int | None:
    """Return the length, None in a network namespace of one's own, where it cannot be seen."""
    return read_setting(place)


def raise_backlog(amphorae: int, place: Path = PLACE) -> None:
    """Make room for the questions of that many amphorae. Where it may not be made, the log says what to do."""
    there = read_backlog(place)
    if there is not None and there != (wanted := decide_backlog(there, amphorae)):
        raise_settings({place: wanted}, tell_command(wanted))


def count_dropped(counters: Path = COUNTERS) -> int:
    """Return for how many packets there was no room since the machine was started."""
    try:
        return sum_column(counters.read_text(encoding="ascii").splitlines(), DROPPED)
    except (OSError, ValueError, IndexError):
        return 0
