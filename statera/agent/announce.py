"""Unasked announcements: gratuitous ARP for IPv4 (RFC 5227), unsolicited neighbour advertisements for IPv6 (RFC 4861).

Neighbours that knew an address under another MAC learn the new one at once.
"""

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from statera.agent.addresses import read_link

ETH_P_ARP, ETH_P_IP = 0x0806, 0x0800
BROADCAST = b"\xff" * 6
ALL_NODES = "ff02::1"
ND_NEIGHBOUR_ADVERT, OVERRIDE, OPTION_TARGET_LINK_ADDRESS = 136, 0x20, 2

_closing = ThreadPoolExecutor(1, "close")


def announce(interface: str, addresses: Sequence[str]) -> None:
    """Announce the addresses on an interface of this thread's namespace; best effort, it is repeated anyway."""
    for text in addresses:
        address = ipaddress.ip_address(text)
        with contextlib.suppress(OSError):
            if address.version == 4:
                _send_arp(interface, address.packed)
            else:
                _send_advertisement(interface, address.packed)


def _send_arp(interface: str, address: bytes) -> None:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    try:
        raw.bind((interface, 0))
        raw.send(arp_frame(raw.getsockname()[4], address))
    finally:
        # The kernel lets go of a packet socket only when no processor may be looking at it any more (af_packet.c,
        # packet_release): some 10 ms in which a VIP would not serve yet.
        _closing.submit(raw.close)


def arp_frame(mac: bytes, address: bytes) -> bytes:
    """Return the Ethernet frame of an ARP announcement: sender and target address are the same."""
    header = BROADCAST + mac + struct.pack("!H", ETH_P_ARP)
    return header + struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, 1) + mac + address + b"\0" * 6 + address


def _send_advertisement(interface: str, address: bytes) -> None:
    mac = bytes.fromhex(read_link(interface).mac_address.replace(":", ""))
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as icmp:
        index = socket.if_nametoindex(interface)
        # Receivers drop neighbour messages whose hop limit is not 255.
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        icmp.sendto(advertisement(mac, address), (ALL_NODES, 0, 0, index))


def advertisement(mac: bytes, address: bytes) -> bytes:
    """Return the ICMPv6 message; the kernel fills in the checksum."""
    head = struct.pack("!BBHB3x", ND_NEIGHBOUR_ADVERT, 0, 0, OVERRIDE)
    return head + address + struct.pack("!BB", OPTION_TARGET_LINK_ADDRESS, 1) + mac
