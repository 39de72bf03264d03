"""Refusals of datagrams count for what somebody in the sandbox has sent, not for what somebody else makes up."""

import socket
import struct
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from statera.agent.host import AmphoraHost
from statera.agent.namespace import entered
from statera.agent.refusals import Endpoint, Refusals
from tests.agent.ground import Ground, eventually
from tests.unit.agent.test_refusals import UDP, make_message, make_v4, make_v6

pytestmark = [pytest.mark.root]

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest_asyncio.fixture
async def refusals(ground: Ground) -> AsyncIterator[Refusals]:
    made = Refusals(ground.amphora_id)
    yield made
    made.close()


def open_udp(family: socket.AddressFamily, address: str = "") -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.bind((address, 0))
    return opened


def refuse(source: Endpoint, target: Endpoint) -> None:
    """Tell the first from outside that its datagram to the second found a closed port."""
    ports = struct.pack("!HHHH", source[1], target[1], 9, 0)
    # Nobody looks at the checksum before a raw socket has it.
    if ":" in source[0]:
        family, protocol = V6, socket.IPPROTO_ICMPV6
        message = make_message(1, 4, make_v6(UDP, source[0], target[0], ports))
    else:
        family, protocol = V4, socket.IPPROTO_ICMP
        message = make_message(3, 3, make_v4(UDP, source[0], target[0], ports))
    with socket.socket(family, socket.SOCK_RAW, protocol) as outside:
        outside.sendto(message, (source[0], 0))


@pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])
async def test_only_what_was_sent_can_be_refused(
    host: AmphoraHost, ground: Ground, refusals: Refusals, family: socket.AddressFamily
) -> None:
    await host.ensure(ground.request())
    gateway = ground.gateway if family == V4 else ground.gateway6
    own = ground.sandbox().interfaces[0].addresses[family == V6].partition("/")[0]
    with entered(ground.amphora_id):
        asking = open_udp(family, own)
    with asking, open_udp(family, gateway) as first, open_udp(family, gateway) as second:
        source, (asked, other) = asking.getsockname()[:2], (one.getsockname()[:2] for one in (first, second))
        refusals.follow([asked, other])
        began = time.monotonic()

        async def is_refused(member: Endpoint) -> bool:
            asking.sendto(b"?", member)
            refuse(source, member)
            return await refusals.has_heard(member, began)

        await eventually(partial(is_refused, asked), "a refusal of what was sent")
        asking.sendto(b"?", other)
        refuse((own, source[1] + 1), other)
        # They are read in turn: when a later one counts, the one before has been read.
        began = time.monotonic()
        await eventually(partial(is_refused, asked), "the next one")
        assert not await refusals.has_heard(other, 0.0), "nobody has asked from that port"
        await eventually(partial(is_refused, other), "a refusal of what the other one was sent")
