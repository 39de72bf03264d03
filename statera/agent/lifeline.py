"""The lifeline: an interface in a sandbox that is there as long as HAProxy lives (tun(4)).

HAProxy's master inherits its descriptor and hands it on to its workers. When the last of them is gone, however it went
and whoever notices, the kernel removes the interface, and keepalived gives the VIPs up at once. A reload does not touch
it. (One that stays and only loses its carrier would not do: the kernel may tell of a carrier a second late.)
"""

import contextlib
import errno
import fcntl
import os
import struct
import time
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from statera.agent.namespace import entered
from statera.base.errors import Transient
from statera.model.vrrp import LIFELINE

DEVICE = Path("/dev/net/tun")
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_MULTI_QUEUE, IFF_NO_PI = 0x0001, 0x0100, 0x1000
BUSY_WITHIN_S = 1.0
LOOK_AGAIN_S = 0.005


def hold_lifeline(amphora_id: str, *, shares: bool = False) -> int | None:
    """Make it; return the descriptor that holds it, None while another process does.

    With `shares`, several hold it together: it goes with the last of them. Blocks for some milliseconds.
    Raises `Transient` (slug `tun-missing`).
    """
    with entered(amphora_id), IPRoute() as inside:
        descriptor = _open(IFF_MULTI_QUEUE if shares else 0)
        if descriptor is not None:
            try:
                _bring_up(inside)
            except BaseException:
                # This process would hold it for ever: no HAProxy that dies would give the VIPs up any more.
                os.close(descriptor)
                raise
        return descriptor


def _bring_up(inside: Any) -> None:
    # Nothing is ever sent over it.
    with contextlib.suppress(OSError):
        Path(f"/proc/sys/net/ipv6/conf/{LIFELINE}/disable_ipv6").write_text("1", encoding="ascii")
    inside.link("set", index=inside.link_lookup(ifname=LIFELINE)[0], state="up")


def holds_lifeline(pid: int | None) -> bool:
    """Say whether a process holds one."""
    with contextlib.suppress(OSError):
        return any(os.readlink(path) == str(DEVICE) for path in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _open(flags: int) -> int | None:
    deadline = time.monotonic() + BUSY_WITHIN_S
    while (descriptor := _try_to_open(flags)) is None and time.monotonic() < deadline:
        # One that has just been killed lets go of it a moment after it has left the namespace.
        time.sleep(LOOK_AGAIN_S)
    return descriptor


def _try_to_open(flags: int) -> int | None:
    try:
        descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        sentence = f"This host has no {DEVICE}, which amphorae that share VIPs need: {error.strerror}."
        raise Transient("tun-missing", sentence) from error
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", LIFELINE.encode(), IFF_TUN | IFF_NO_PI | flags))
    except OSError as error:
        os.close(descriptor)
        # The latter when only one of the two would share it.
        if error.errno in (errno.EBUSY, errno.EINVAL):
            return None
        raise
    return descriptor
