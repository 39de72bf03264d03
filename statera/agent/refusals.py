"""Hears of members that refuse datagrams, whoever in the amphora sent them (ICMP, RFC 792; ICMPv6, RFC 4443).

A kernel sends few of these messages to one address, one in a second on Linux (icmp_ratelimit): a closed port under
traffic refuses the clients' datagrams, and a check alone would hear nothing and take that for a yes.

Anybody who reaches the amphora can send such a message. So one counts only for a datagram that was sent: the kernel
remembers for some seconds who asked which member from which port (nftables), as it does by itself for the check's own.
Without nftables none counts but the check's own. It begins with the first refusal, and costs nothing before.
"""

import asyncio
import contextlib
import ipaddress
import socket
import struct
import time
from collections import deque
from collections.abc import Collection, Iterator
from typing import NamedTuple

from statera.agent import namespace
from statera.agent.nft import FAMILIES, find_family, run_nft

SOL_RAW, ICMP_FILTER, ICMP6_FILTER = 255, 1, 1
UNREACHABLE, UNREACHABLE_V6 = 3, 1
"""Types of message."""
CODES, CODES_V6 = (1, 3), (3, 4)
"""Host and port, address and port unreachable."""
UDP = 17
HEAD = 8
"""Bytes of a message before the datagram that it is about."""
LEAST_HEADER, FRAGMENT_OFFSET = 20, 0x1FFF
"""Bytes of an IPv4 header; which bits of its bytes 6 and 7 say where in a datagram it begins (RFC 791, 3.1)."""
MOST_BYTES = 2048
MOST_SOURCES = 4
"""Refused datagrams of a member that are looked for, the last ones. Who makes them up has so many tries at a look."""
TABLE = "statera_refusals"
REMEMBERED_S, MOST_REMEMBERED = 10, 65_536
"""Of what was sent to members; what is beyond is not remembered, and no refusal of it counts."""

Endpoint = tuple[str, int]


class Refused(NamedTuple):
    """A datagram that did not arrive."""

    source: Endpoint
    target: Endpoint


class Refusals:
    """Of one amphora."""

    def __init__(self, amphora_id: str) -> None:
        self._amphora_id = amphora_id
        self._sockets: list[socket.socket] = []
        self._heard: dict[Endpoint, deque[tuple[float, Endpoint]]] = {}
        """By member: when, and who had asked."""
        self._asking = asyncio.Lock()

    def follow(self, members: Collection[Endpoint]) -> None:
        """Listen for what these refuse from now on, and nobody else. Raises `OSError`."""
        self._heard = {member: self._heard.get(member, deque(maxlen=MOST_SOURCES)) for member in members}
        if members:
            self._open()
        else:
            self.close()

    def _open(self) -> None:
        if not self._sockets:
            with namespace.entered(self._amphora_id):
                self._sockets.append(_open_v4())
                with contextlib.suppress(OSError):
                    self._sockets.append(_open_v6())
            for one in self._sockets:
                asyncio.get_running_loop().add_reader(one, self._hear, one)

    def close(self) -> None:
        for one in self._sockets:
            asyncio.get_running_loop().remove_reader(one)
            one.close()
        self._sockets.clear()

    def _hear(self, heard: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                packet = heard.recv(MOST_BYTES)
                refused = parse_v4(packet) if heard.family == socket.AF_INET else parse_v6(packet)
                if refused is not None and refused.target in self._heard:
                    self._heard[refused.target].append((time.monotonic(), refused.source))

    async def has_heard(self, member: Endpoint, since: float) -> bool:
        """Say whether a datagram to there has been refused since then, by `time.monotonic`."""
        sources = {source for heard, source in self._heard.get(member, ()) if heard >= since}
        if not sources:
            return False
        async with self._asking:
            return await asyncio.to_thread(self._has_sent, sources, member)

    def _has_sent(self, sources: Collection[Endpoint], member: Endpoint) -> bool:
        if any(run_nft(self._amphora_id, tell_lookup(source, member)) is not None for source in sources):
            return True
        # From now on it will be known: the kernel does not remember yet, or not this member.
        run_nft(self._amphora_id, ["-f", "-"], "\n".join(list_rules(tuple(self._heard))))
        return False


def tell_lookup(source: Endpoint, member: Endpoint) -> list[str]:
    """Return the words for `nft` that fail unless the first has asked the second."""
    key = f"{source[0]} . {source[1]} . {member[0]} . {member[1]}"
    return ["get", "element", "inet", TABLE, f"asked_{find_family(member[0])}", f"{{ {key} }}"]


def list_rules(members: Collection[Endpoint]) -> Iterator[str]:
    """Return the words for `nft -f`: again and again the same end, and who has asked stays known."""
    yield f"add table inet {TABLE}"
    # What IPVS relays is not sent by anybody here, and its refusals go on to the clients.
    yield f"add chain inet {TABLE} output {{ type filter hook output priority -150; policy accept; }}"
    yield f"flush chain inet {TABLE} output"
    for family, address in FAMILIES.items():
        yield f"add set inet {TABLE} members_{family} {{ type {address} . inet_service; }}"
        yield f"flush set inet {TABLE} members_{family}"
        if keys := ", ".join(f"{member[0]} . {member[1]}" for member in members if find_family(member[0]) == family):
            yield f"add element inet {TABLE} members_{family} {{ {keys} }}"
        yield (
            f"add set inet {TABLE} asked_{family} {{ type {address} . inet_service . {address} . inet_service; "
            f"flags dynamic,timeout; size {MOST_REMEMBERED}; timeout {REMEMBERED_S}s; }}"
        )
        yield (
            f"add rule inet {TABLE} output {family} daddr . udp dport @members_{family} "
            f"update @asked_{family} {{ {family} saddr . udp sport . {family} daddr . udp dport }}"
        )


def _open_v4() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    opened.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", ~(1 << UNREACHABLE) & 0xFFFFFFFF))
    opened.setblocking(False)
    return opened


def _open_v6() -> socket.socket:
    opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    blocked = [0xFFFFFFFF] * 8
    blocked[0] &= ~(1 << UNREACHABLE_V6)
    opened.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *blocked))
    opened.setblocking(False)
    return opened


def parse_v4(packet: bytes) -> Refused | None:
    """Return the datagram that an IPv4 packet with an ICMP message is about, None for another one."""
    message = _strip_header(packet)
    inner = message[HEAD:]
    datagram = _strip_header(inner)
    if not datagram or message[0] != UNREACHABLE or message[1] not in CODES or inner[9] != UDP:
        return None
    return _read(inner[12:16], inner[16:20], datagram)


def _strip_header(packet: bytes) -> bytes:
    """Return what an IPv4 packet carries.

    b"" without a whole header, and for a later fragment: it begins in the middle of its datagram.
    """
    length = (packet[0] & 15) * 4 if len(packet) >= LEAST_HEADER else 0
    if length < LEAST_HEADER or int.from_bytes(packet[6:8]) & FRAGMENT_OFFSET:
        return b""
    return packet[length:]


def parse_v6(message: bytes) -> Refused | None:
    """Return the same of an ICMPv6 message, which comes without its header."""
    inner = message[HEAD:]
    if len(inner) < 40 or message[0] != UNREACHABLE_V6 or message[1] not in CODES_V6 or inner[6] != UDP:
        return None
    return _read(inner[8:24], inner[24:40], inner[40:])


def _read(source: bytes, target: bytes, datagram: bytes) -> Refused | None:
    if len(datagram) < 4:
        return None
    ports = struct.unpack_from("!HH", datagram)
    return Refused((str(ipaddress.ip_address(source)), ports[0]), (str(ipaddress.ip_address(target)), ports[1]))
