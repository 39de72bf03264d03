"""Signs of life to whoever supervises this process, in systemd's protocol: sd_notify(3) and sd_watchdog_enabled(3)."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

SIGN = b"WATCHDOG=1"
PLACE, PATIENCE, MEANT = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


async def show_life(environment: Mapping[str, str]) -> None:
    """Tell the supervisor, at a third of its patience, that the event loop turns; return where nobody asked."""
    place, patience = environment.get(PLACE, ""), environment.get(PATIENCE, "")
    if not place or not patience.isdecimal() or environment.get(MEANT, str(os.getpid())) != str(os.getpid()):
        return
    # A name without a file is told with a sign in front.
    address = f"\0{place[1:]}" if place.startswith("@") else place
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        sending.setblocking(False)
        while True:
            with contextlib.suppress(OSError):
                sending.sendto(SIGN, address)
            await asyncio.sleep(int(patience) / 3_000_000)
