"""Signs of life to whoever supervises this process, in systemd's protocol: sd_notify(3) and sd_watchdog_enabled(3)."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from statera.base.listening import short_path

SIGN, READY = b"WATCHDOG=1", b"READY=1"
PLACE, PATIENCE, MEANT = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


class Supervisor:
    """The one that the environment names, if it names any."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._place, patience = environment.get(PLACE, ""), environment.get(PATIENCE, "")
        is_asked = self._place and patience.isdecimal() and environment.get(MEANT, str(os.getpid())) == str(os.getpid())
        self.every_s = int(patience) / 3_000_000 if is_asked else None
        """A third of its patience; None where it waits for no signs of life."""
        self._told_at: float | None = None

    def tell(self, words: bytes) -> None:
        """Tell it something, if it is there and hears: without waiting."""
        if self._place:
            with (
                contextlib.suppress(OSError),
                _addressed(self._place) as address,
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending,
            ):
                sending.setblocking(False)
                sending.sendto(words, address)

    def tell_alive(self, now_s: float) -> None:
        """Give a sign of life if it is time for one."""
        if self.every_s is not None and (self._told_at is None or now_s - self._told_at >= self.every_s):
            self._told_at = now_s
            self.tell(SIGN)


@contextlib.contextmanager
def _addressed(place: str) -> Iterator[str]:
    # A name without a file is told with a sign in front.
    if place.startswith("@"):
        yield f"\0{place[1:]}"
        return
    with short_path(Path(place)) as short:
        yield short


async def show_life(environment: Mapping[str, str]) -> None:
    """Tell the supervisor, at a third of its patience, that the event loop turns; return where nobody asked."""
    supervisor = Supervisor(environment)
    while supervisor.every_s is not None:
        supervisor.tell(SIGN)
        await asyncio.sleep(supervisor.every_s)
