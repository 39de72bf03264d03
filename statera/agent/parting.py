"""Masters of nginx whose listeners another one has taken over: they hear nobody any more, and still answer.

Of several sockets on one address and port, all with SO_REUSEADDR, Linux gives a datagram to the one that was bound last
(`udp_lib_get_port` in net/ipv4/udp.c); nginx binds in that way. An nginx that is told to finish closes its sockets at
once, and with them goes what its members have yet to answer. So it is told only when it has no flows any more.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from statera.agent import process
from statera.agent.sockets import list_sockets, read_connected
from statera.base.processes import list_family

PROGRAM = "nginx"
"""As the kernel names it."""
MOST = 3
"""Each takes some MiB of the sandbox's memory; a member whose checks flap makes one each time."""
LEAST_S = 1.0
"""For what its sockets had heard before, and the worker has yet to read."""

DEAF_AFTER_S = 5.0
"""Since it was told to end, for which nginx takes a second."""


class Parting:
    """Of one amphora. They may take `drain_s` to answer. The caller holds the amphora's lock."""

    def __init__(self, amphora_id: str, drain_s: float) -> None:
        self._amphora_id = amphora_id
        self._drain_s = drain_s
        self._since: dict[int, float] = {}
        self._told: dict[int, float] = {}
        """When each was told to end, first."""
        self._has_looked = False

    def note(self, pid: int) -> None:
        """Take notice that another one has taken over from this one."""
        self._since[pid] = time.monotonic()

    def end(self, current: int | None) -> None:
        """End those that have no flows any more, those whose time is over, and the oldest of too many."""
        if not self._since and self._has_looked:
            return
        # An earlier life of the agent may have left some, too.
        self._has_looked = True
        now, masters = time.monotonic(), list_masters(self._amphora_id) - {current}
        self._since = {
            pid: self._since.get(pid, now) for pid in sorted(masters, key=lambda one: self._since.get(one, now))
        }
        self._told = {pid: told for pid, told in self._told.items() if pid in masters}
        spare = len(self._since) - MOST
        for number, (pid, since) in enumerate(self._since.items()):
            is_over = number < spare or now - since >= self._drain_s
            if is_over or (now - since >= LEAST_S and not list_flows(self._amphora_id, pid)):
                self._end(pid, now)

    def _end(self, pid: int, now: float) -> None:
        # A master that hangs does not hear it, and its worker would not end with it.
        is_deaf = now - self._told.setdefault(pid, now) >= DEAF_AFTER_S
        for one in list_family(pid) if is_deaf else [pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL if is_deaf else signal.SIGTERM)

    def list_flows(self) -> set[str]:
        """Return the sockets of all their flows."""
        return {inode for pid in self._since for inode in list_flows(self._amphora_id, pid)}


def list_masters(amphora_id: str) -> set[int]:
    found = set()
    for pid in process.list_running(amphora_id, only=(PROGRAM,)):
        with contextlib.suppress(OSError):
            if b"master process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def list_children(amphora_id: str, master: int) -> Iterator[int]:
    for pid in process.list_running(amphora_id, only=(PROGRAM,)):
        with contextlib.suppress(OSError, IndexError, ValueError):
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
            if int(stat.rpartition(")")[2].split()[1]) == master:
                yield pid


def list_flows(amphora_id: str, master: int) -> set[str]:
    """Return a master's flows, by the inode of each one's socket to its member."""
    connected = {inode for _, _, inode in read_connected(master)}
    return {inode for pid in list_children(amphora_id, master) for inode in list_sockets(pid) if inode in connected}
