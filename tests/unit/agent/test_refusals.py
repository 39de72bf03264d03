"""What members' hosts and routers say of datagrams that they refuse, in the layouts of RFC 792 and RFC 4443."""

import ipaddress
import struct

import pytest

from statera.agent.refusals import Refused, parse_v4, parse_v6

MEMBER, MEMBER_V6 = "192.0.2.9", "2001:db8::9"
OWN, OWN_V6 = "192.0.2.10", "2001:db8::10"
ICMP, TCP, UDP, FRAGMENT = 1, 6, 17, 44
PORT, OWN_PORT = 5353, 40_000
NOPS = b"\x01" * 8
"""Two words of options that mean nothing (RFC 791, 3.1)."""


def make_v4(
    protocol: int, source: str, target: str, content: bytes, *, options: bytes = b"", words: int = 0, offset: int = 0
) -> bytes:
    """Return an IPv4 packet; `words` is the length of its header where it is to lie, `offset` that of a fragment."""
    length = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH", 4 << 4 | (words or length // 4), 0, length + len(content), 7, offset, 64, protocol, 0
    )
    return head + ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + options + content


def make_v6(following: int, source: str, target: str, content: bytes) -> bytes:
    """Return an IPv6 packet (RFC 8200, 3)."""
    head = struct.pack("!IHBB", 6 << 28, len(content), following, 64)
    return head + ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + content


def make_datagram(port: int = PORT) -> bytes:
    """Return the head of a datagram: 64 bits, all that RFC 792 has a message quote of it."""
    return struct.pack("!HHHH", OWN_PORT, port, 8, 0)


def make_message(kind: int, code: int, about: bytes) -> bytes:
    return struct.pack("!BBHI", kind, code, 0, 0) + about


REFUSED = Refused((OWN, OWN_PORT), (MEMBER, PORT))
REFUSED_V6 = Refused((OWN_V6, OWN_PORT), (MEMBER_V6, PORT))
SENT = make_v4(UDP, OWN, MEMBER, make_datagram())
SENT_V6 = make_v6(UDP, OWN_V6, MEMBER_V6, make_datagram())


def hear(kind: int, code: int, about: bytes = SENT, options: bytes = b"") -> Refused | None:
    """Read a message as a raw socket gives it: with the header of its packet."""
    return parse_v4(make_v4(ICMP, MEMBER, OWN, make_message(kind, code, about), options=options))


@pytest.mark.parametrize("code", [1, 3])
def test_a_closed_port_or_a_host_that_is_away_is_told_of_the_datagram(code: int) -> None:
    assert hear(3, code) == REFUSED
    assert hear(3, code, SENT + b"the rest") == REFUSED


def test_headers_may_have_options() -> None:
    about = make_v4(UDP, OWN, MEMBER, make_datagram(), options=NOPS)
    assert hear(3, 3, about) == hear(3, 3, options=NOPS) == hear(3, 3, about, NOPS) == REFUSED


@pytest.mark.parametrize(
    ("kind", "code", "about"),
    [
        (3, 4, SENT),  # Fragmentation needed.
        (3, 13, SENT),  # Prohibited (RFC 1812, 5.2.7.1).
        (11, 0, SENT),  # Time exceeded.
        (8, 0, SENT),  # An echo request that holds the same.
        (3, 3, make_v4(TCP, OWN, MEMBER, make_datagram())),
        (3, 3, make_v4(UDP, OWN, MEMBER, make_datagram(), offset=185)),
        (3, 3, make_v4(UDP, OWN, MEMBER, make_datagram(), words=4)),
        (3, 3, make_v4(UDP, OWN, MEMBER, make_datagram(), words=15)),
    ],
    ids=["too large", "prohibited", "late", "echo", "tcp", "later fragment", "short header", "long header"],
)
def test_other_messages_say_nothing_of_a_datagram(kind: int, code: int, about: bytes) -> None:
    assert hear(kind, code, about) is None


@pytest.mark.parametrize("code", [3, 4])
def test_the_same_of_ipv6_comes_without_a_header(code: int) -> None:
    assert parse_v6(make_message(1, code, SENT_V6)) == REFUSED_V6


@pytest.mark.parametrize(
    "message",
    [
        make_message(1, 1, SENT_V6),  # Prohibited.
        make_message(2, 0, SENT_V6),  # Packet too big.
        make_message(1, 4, make_v6(TCP, OWN_V6, MEMBER_V6, make_datagram())),
        make_message(1, 4, make_v6(FRAGMENT, OWN_V6, MEMBER_V6, make_datagram())),
    ],
    ids=["prohibited", "too large", "tcp", "fragment"],
)
def test_other_messages_of_ipv6_say_nothing_of_a_datagram(message: bytes) -> None:
    assert parse_v6(message) is None


def test_what_is_cut_off_is_left_out() -> None:
    """Only the ports of the datagram are needed: four bytes of it."""
    whole = make_v4(ICMP, MEMBER, OWN, make_message(3, 3, SENT))
    whole_v6 = make_message(1, 4, SENT_V6)
    assert [length for length in range(len(whole)) if parse_v4(whole[:length])] == [*range(52, 56)]
    assert [length for length in range(len(whole_v6)) if parse_v6(whole_v6[:length])] == [*range(52, 56)]
