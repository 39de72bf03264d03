"""UDP sockets of a process's network, as the kernel tells of them (`/proc/net/udp`, proc(5))."""

import contextlib
import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ESTABLISHED = "01"
"""A socket that is connected to one other."""


def list_sockets(pid: int) -> Iterator[str]:
    """Give the inode of each socket that a process has open."""
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                yield os.readlink(path).removeprefix("socket:[").removesuffix("]")


def read_connected(pid: int) -> Iterator[tuple[str, int, str]]:
    """Return address, in the kernel's form, port and inode of each connected socket in a process's network."""
    for name in ("udp", "udp6"):
        for words in _read_lines(pid, name):
            address, port = _read_place(words[2])
            if words[3] == ESTABLISHED:
                yield address, port, words[9]


def has_unread(pid: int, address: str, port: int) -> bool:
    """Say whether a socket of this process, bound to an IPv4 address and port, holds what nobody has read yet."""
    place = (hex_address(address), port)
    unread = {
        words[9]
        for words in _read_lines(pid, "udp")
        if _read_place(words[1]) == place and int(words[4].partition(":")[2], 16)
    }
    return bool(unread) and not unread.isdisjoint(list_sockets(pid))


def _read_lines(pid: int, name: str) -> Iterator[list[str]]:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii").splitlines()[1:]:
            yield line.split()


def _read_place(word: str) -> tuple[str, int]:
    address, _, port = word.partition(":")
    return address, int(port, 16)


def hex_address(text: str) -> str:
    """Return an address in the kernel's form: 32-bit groups in this machine's byte order."""
    packed = ipaddress.ip_address(text).packed
    groups = [packed[place : place + 4] for place in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(group, sys.byteorder):08X}" for group in groups)
