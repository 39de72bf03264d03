"""The interfaces of a namespace and their addresses, as the kernel tells them at once: no netlink, so also for those
who must not wait.
"""

import array
import contextlib
import fcntl
import ipaddress
import socket
import struct
from pathlib import Path

import msgspec

# netdevice(7), linux/sockios.h, linux/if.h
SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFHWADDR = 0x8912, 0x8913, 0x8927
IFF_UP = 0x1
REQUEST = struct.Struct("16s24x")
ENTRY_BYTES, NAME_BYTES, ADDRESS_AT = 40, 16, 20
"""Of `struct ifreq` on 64 bits, with a `struct sockaddr_in` in it (netdevice(7))."""
MOST_ENTRIES = 256


class Link(msgspec.Struct, frozen=True):
    """One interface: whether it is up, and its MAC in lower case."""

    is_up: bool
    mac_address: str


def read_link(device: str) -> Link:
    """Return an interface of this thread's namespace. Raises `OSError` when there is none of this name."""
    request = REQUEST.pack(device.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        (flags,) = struct.unpack_from("H", fcntl.ioctl(asking, SIOCGIFFLAGS, request), NAME_BYTES)
        found = fcntl.ioctl(asking, SIOCGIFHWADDR, request)
    # Behind the name stands a sockaddr: two bytes of its family, then the address.
    return Link(bool(flags & IFF_UP), found[NAME_BYTES + 2 : NAME_BYTES + 8].hex(":"))


def list_addresses(device: str) -> set[str]:
    """Return the addresses of an interface in this thread's namespace."""
    return _list_ipv4(device) | _list_ipv6(device)


def _list_ipv4(device: str) -> set[str]:
    room = array.array("B", bytes(ENTRY_BYTES * MOST_ENTRIES))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking, SIOCGIFCONF, struct.pack("iL", len(room), room.buffer_info()[0]))
    used = struct.unpack("iL", answer)[0]
    entries = [room[at : at + ENTRY_BYTES].tobytes() for at in range(0, used, ENTRY_BYTES)]
    return {
        str(ipaddress.IPv4Address(entry[ADDRESS_AT : ADDRESS_AT + 4]))
        for entry in entries
        if entry[:NAME_BYTES].split(b"\0")[0].decode() == device
    }


def _list_ipv6(device: str) -> set[str]:
    # Columns: address, index, prefix length, scope, flags, name (proc(5), /proc/net/if_inet6).
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/proc/thread-self/net/if_inet6").read_bytes().decode("ascii").splitlines():
            words = line.split()
            if words[5] == device:
                found.add(str(ipaddress.IPv6Address(int(words[0], 16))))
    return found
