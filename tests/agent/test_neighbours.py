"""A host sees who answers on a network, over IPv4 and IPv6, without disturbing anybody."""

import asyncio

import pytest

from statera.agent.host import AmphoraHost
from statera.agent.neighbours import list_answering, read_answer, solicitation
from tests.agent.ground import Ground

pytestmark = pytest.mark.root


async def test_who_has_a_sandbox_answers(ground: Ground, host: AmphoraHost) -> None:
    await host.ensure(ground.request())
    (interface,) = ground.sandbox().interfaces
    own = [text.partition("/")[0] for text in interface.addresses]
    nobody = [own[0] + "9", own[1] + "9"]

    def ask() -> list[str]:
        return list_answering(interface.attachment, interface.mtu, [*own, ground.vip, ground.vip6, *nobody], 2.0)

    assert await asyncio.to_thread(ask) == sorted([*own, ground.vip, ground.vip6])


def test_other_frames_are_nobody_s_answer() -> None:
    asked = solicitation(b"\x02" * 6, b"\xfd" + b"\0" * 14 + b"\x05")
    assert [read_answer(frame) for frame in (b"", asked, asked[:30], b"\0" * 60)] == [b"", b"", b"", b""]
