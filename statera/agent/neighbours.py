"""Who answers on a network: ARP probes (RFC 5227) and neighbour solicitations as for duplicates (RFC 4862), from here.

Neither changes what neighbours know. The kernel of a sandbox answers for its addresses, whatever becomes of its agent.
"""

import ipaddress
import select
import socket
import struct
import time
from collections.abc import Collection

from pyroute2 import IPRoute

from statera.agent.announce import BROADCAST, ETH_P_ARP, ETH_P_IP
from statera.agent.bridges import ensure_bridge
from statera.agent.links import find_device
from statera.base.errors import Transient
from statera.model.network import Attachment

ASK_EVERY_S = 0.2
ANSWER_WITHIN_S = 0.7
"""For four questions; a neighbour answers within some milliseconds, and clients wait for the outcome."""
ETH_P_ALL, ETH_P_IPV6 = 0x0003, 0x86DD
ICMPV6, ND_SOLICIT, ND_ADVERT = 58, 135, 136
HOP_LIMIT = 255
ETHERNET_BYTES, IPV6_BYTES = 14, 40
ARP_REPLY_BYTES = 42
FRAME_BYTES = 2048


def list_answering(
    attachment: Attachment, mtu: int, addresses: Collection[str], within_s: float = ANSWER_WITHIN_S
) -> list[str]:
    """Return those addresses for which somebody on the network answers; blocks for up to `within_s` seconds.

    Raises `Transient` when this host cannot ask there.
    """
    try:
        with IPRoute() as host:
            if attachment.kind == "bridge":
                ensure_bridge(host, attachment, mtu)
            else:
                find_device(host, attachment.device)
        with open_network(attachment.device) as raw:
            return ask(raw, addresses, within_s)
    except OSError as error:
        raise Transient("network-not-asked", f"{attachment.device} cannot be asked on: {error}.") from error


def open_network(device: str) -> socket.socket:
    """Return a socket to ask with on a device of this thread's network namespace. Raises `OSError`."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    try:
        raw.bind((device, ETH_P_ALL))
    except OSError:
        raw.close()
        raise
    return raw


def ask(raw: socket.socket, addresses: Collection[str], within_s: float) -> list[str]:
    """Return for which addresses somebody answers; blocks until all are answered or the time is over."""
    wanted = {ipaddress.ip_address(text).packed: text for text in addresses}
    answering: set[bytes] = set()
    _ask(raw, wanted, answering, time.monotonic() + within_s)
    return sorted(wanted[address] for address in answering)


def _ask(raw: socket.socket, wanted: Collection[bytes], answering: set[bytes], deadline: float) -> None:
    mac, next_at = raw.getsockname()[4], 0.0
    # Not `select.select`, which takes no descriptor above 1,023: that of an agent with 500 amphorae may be one.
    incoming = select.poll()
    incoming.register(raw, select.POLLIN)
    while (now := time.monotonic()) < deadline and answering < set(wanted):
        if now >= next_at:
            for address in set(wanted) - answering:
                raw.send(arp_question(mac, address) if len(address) == 4 else solicitation(mac, address))
            next_at = now + ASK_EVERY_S
        if incoming.poll(1000 * max(0.0, min(next_at, deadline) - now)):
            frame, sender = raw.recvfrom(FRAME_BYTES)
            address = read_answer(frame)
            # What goes out is seen here, too, and may name an address that is still ours.
            if address in wanted and sender[2] != socket.PACKET_OUTGOING:
                answering.add(address)


def arp_question(mac: bytes, address: bytes) -> bytes:
    """Return the Ethernet frame of an ARP probe: without an address of our own."""
    header = BROADCAST + mac + struct.pack("!H", ETH_P_ARP)
    return header + struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, 1) + mac + b"\0" * 4 + b"\0" * 6 + address


def solicitation(mac: bytes, address: bytes) -> bytes:
    """Return the Ethernet frame of a neighbour solicitation from the unspecified address."""
    group = ipaddress.ip_address("ff02::1:ff00:0").packed[:13] + address[13:]
    message = struct.pack("!BBHI", ND_SOLICIT, 0, 0, 0) + address
    pseudo = b"\0" * 16 + group + struct.pack("!II", len(message), ICMPV6)
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    packet = struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, HOP_LIMIT) + b"\0" * 16 + group + message
    return b"\x33\x33" + group[12:] + mac + struct.pack("!H", ETH_P_IPV6) + packet


def read_answer(frame: bytes) -> bytes:
    """Return the address that a frame shows to be somebody's, b"" for any other frame."""
    kind = int.from_bytes(frame[12:14])
    if kind == ETH_P_ARP and len(frame) >= ARP_REPLY_BYTES:
        return frame[28:32]
    at = ETHERNET_BYTES + IPV6_BYTES
    if kind == ETH_P_IPV6 and len(frame) >= at + 24 and frame[20] == ICMPV6 and frame[at] == ND_ADVERT:
        return frame[at + 8 : at + 24]
    return b""


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
