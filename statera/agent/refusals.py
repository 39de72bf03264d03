"""Hears of members that refuse datagrams, whoever in the amphora sent them (ICMP, RFC 792; ICMPv6, RFC 4443).

A kernel sends few of these messages to one address, one in a second on Linux (icmp_ratelimit): a closed port under
traffic refuses the clients' datagrams, and a check alone would hear nothing and take that for a yes.
"""

import asyncio
import contextlib
import ipaddress
import socket
import struct
import time

from statera.agent import namespace

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
MOST_HEARD = 10_000

Endpoint = tuple[str, int]


class Refusals:
    """Of one amphora."""

    def __init__(self, amphora_id: str) -> None:
        self._amphora_id = amphora_id
        self._sockets: list[socket.socket] = []
        self._heard: dict[Endpoint, float] = {}

    def open(self) -> None:
        """Begin to listen; again is fine. Raises `OSError`."""
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
                endpoint = parse_v4(packet) if heard.family == socket.AF_INET else parse_v6(packet)
                if endpoint is not None:
                    if len(self._heard) >= MOST_HEARD:
                        self._heard.clear()
                    self._heard[endpoint] = time.monotonic()

    def has_heard(self, address: str, port: int, since: float) -> bool:
        """Say whether a datagram to there has been refused since then, by `time.monotonic`."""
        return self._heard.get((address, port), float("-inf")) >= since


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


def parse_v4(packet: bytes) -> Endpoint | None:
    """Return where the datagram was sent that an IPv4 packet with an ICMP message is about, None for another one."""
    message = _strip_header(packet)
    inner = message[HEAD:]
    datagram = _strip_header(inner)
    if not datagram or message[0] != UNREACHABLE or message[1] not in CODES or inner[9] != UDP:
        return None
    return _endpoint(inner[16:20], datagram)


def _strip_header(packet: bytes) -> bytes:
    """Return what an IPv4 packet carries.

    b"" without a whole header, and for a later fragment: it begins in the middle of its datagram.
    """
    length = (packet[0] & 15) * 4 if len(packet) >= LEAST_HEADER else 0
    if length < LEAST_HEADER or int.from_bytes(packet[6:8]) & FRAGMENT_OFFSET:
        return b""
    return packet[length:]


def parse_v6(message: bytes) -> Endpoint | None:
    """Return the same of an ICMPv6 message, which comes without its header."""
    inner = message[HEAD:]
    if len(inner) < 40 or message[0] != UNREACHABLE_V6 or message[1] not in CODES_V6 or inner[6] != UDP:
        return None
    return _endpoint(inner[24:40], inner[40:])


def _endpoint(address: bytes, datagram: bytes) -> Endpoint | None:
    if len(datagram) < 4:
        return None
    return str(ipaddress.ip_address(address)), int.from_bytes(datagram[2:4])
