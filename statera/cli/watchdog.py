"""Which processes of `statera up` still turn: those that hang do not end, so nobody would start them again.

They tell it as systemd's services do (`base/watchdog.py`), on a socket that only root and their user may write to.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from statera.base.listening import short_path
from statera.base.watchdog import MEANT, PATIENCE, PLACE, SIGN

TURN_MOST_S = 1.0
"""What one turn of the supervisor may add to a silence: who is stopped itself, machine and all, hears nobody."""
MOST_SIGNS = 1_000
"""That are heard in one turn."""
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group of a sender, as the kernel fills them in (unix(7))."""
_MOST_BYTES = 4096


class Patience(msgspec.Struct, frozen=True):
    """For how many seconds a process may be silent before it counts as hung; 0: for ever."""

    turning_s: float
    """Since its last sign of life."""
    starting_s: float
    """Since its start, while it has given none."""


class Hang(msgspec.Struct, frozen=True):
    """What is known of a process that hangs."""

    late_s: float
    """How long it has been silent beyond what it may be."""
    why: str


class Watchdog:
    """Hears signs of life, and counts for how long each process has been silent."""

    def __init__(self, place: Path, patience: Patience, user_id: int | None) -> None:
        """Raises `OSError`."""
        self._place = place
        self._user_id = user_id
        self._patience = patience
        self._listening = _listen_at(place, user_id)
        self._inode = place.lstat().st_ino
        self._silent_s: dict[int, float] = {}
        self._starting: set[int] = set()
        """Who has not spoken yet."""
        self._turned_at: float | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables for a process that is started."""
        if not self._patience.turning_s:
            return {}
        return {PLACE: str(self._place), PATIENCE: str(int(self._patience.turning_s * 1_000_000))}

    def turn(self, now_s: float) -> dict[int, Hang]:
        """Hear who has spoken since the last turn; return those that hang, by pid."""
        passed_s = min(now_s - self._turned_at, TURN_MOST_S) if self._turned_at is not None else 0.0
        self._turned_at = now_s
        is_reachable = self._is_reachable()
        if not is_reachable:
            self._listen_anew()
        for pid, silent_s in self._silent_s.items():
            self._silent_s[pid] = silent_s + passed_s if is_reachable else 0.0
        for pid in self._hear():
            if pid in self._silent_s:
                self._silent_s[pid] = 0.0
                self._starting.discard(pid)
        return {pid: hang for pid in self._silent_s if (hang := self._judge(pid)) is not None}

    def _judge(self, pid: int) -> Hang | None:
        is_starting = pid in self._starting
        most_s = self._patience.starting_s if is_starting else self._patience.turning_s
        late_s = self._silent_s[pid] - most_s
        # Who is not asked for signs of life gives none.
        if not most_s or not self._patience.turning_s or late_s < 0:
            return None
        since, option = ("since its start", "watchdog_start_s") if is_starting else ("any more", "watchdog_s")
        return Hang(late_s, f"It has given no sign of life {since} for {most_s:g} s ({option}).")

    def expect(self, pid: int) -> None:
        """Listen to a process that was started; what others send does not count."""
        self._silent_s[pid] = 0.0
        self._starting.add(pid)

    def forget(self, pid: int) -> None:
        """Wait no more for a process that has ended: another may get its number."""
        self._silent_s.pop(pid, None)
        self._starting.discard(pid)

    def close(self) -> None:
        """Hear nobody any more."""
        self._listening.close()
        self._place.unlink(missing_ok=True)

    def _is_reachable(self) -> bool:
        # Whoever cleans /run up may have taken the socket away: who cannot speak is not silent.
        with contextlib.suppress(OSError):
            return self._place.lstat().st_ino == self._inode
        return False

    def _listen_anew(self) -> None:
        # On a full disk it is tried again in the next turn.
        with contextlib.suppress(OSError):
            opened = _listen_at(self._place, self._user_id)
            self._listening.close()
            self._listening, self._inode = opened, self._place.lstat().st_ino

    def _hear(self) -> Iterator[int]:
        with contextlib.suppress(BlockingIOError):
            # Bounded: who sends more and more must not keep the supervisor here.
            for _ in range(MOST_SIGNS):
                told, extras, _flags, _sender = self._listening.recvmsg(
                    _MOST_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
                for level, kind, content in extras:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and SIGN in told.split(b"\n"):
                        yield _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0]


@contextlib.contextmanager
def listening_for_life(place: Path, patience: Patience, user_id: int | None) -> Iterator[Watchdog]:
    """Give a watchdog that hears on the path; `user_id`: who may write there beside this user. Raises `OSError`."""
    with contextlib.closing(Watchdog(place, patience, user_id)) as watchdog:
        yield watchdog


def _listen_at(place: Path, user_id: int | None) -> socket.socket:
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with short_path(place) as short:
            listening.bind(short)
        if user_id is not None:
            os.chown(place, user_id, -1, follow_symlinks=False)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening


def without_watchdog(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those by which this process's own supervisor asks it for signs of life."""
    return {name: value for name, value in environment.items() if name not in (PLACE, PATIENCE, MEANT)}
