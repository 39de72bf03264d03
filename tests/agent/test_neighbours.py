"""A host sees who answers on a network, over IPv4 and IPv6, without disturbing anybody."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from statera.agent.host import AmphoraHost
from statera.agent.neighbours import list_answering, read_answer, solicitation
from statera.model.agent_wire import NeighboursQuestion
from tests.agent.ground import WITHIN_S, Ground

pytestmark = pytest.mark.root


async def test_who_has_a_sandbox_answers(ground: Ground, host: AmphoraHost) -> None:
    await host.ensure(ground.request())
    (interface,) = ground.sandbox().interfaces
    own = [text.partition("/")[0] for text in interface.addresses]
    nobody = [own[0] + "9", own[1] + "9"]

    def ask() -> list[str]:
        return list_answering(interface.attachment, interface.mtu, [*own, ground.vip, ground.vip6, *nobody], 2.0)

    assert await asyncio.to_thread(ask) == sorted([*own, ground.vip, ground.vip6])


def make_question(ground: Ground) -> NeighboursQuestion:
    (interface,) = ground.sandbox().interfaces
    return NeighboursQuestion(
        attachment=interface.attachment, mtu=interface.mtu, addresses=(ground.vip, f"{ground.vip}9")
    )


@pytest.mark.usefixtures("many_descriptors")
async def test_a_host_with_more_descriptors_than_select_takes_sees_them_too(ground: Ground, host: AmphoraHost) -> None:
    await host.ensure(ground.request())
    assert await host.list_answering(make_question(ground)) == [ground.vip]


async def test_questions_have_threads_of_their_own(ground: Ground, host: AmphoraHost) -> None:
    """Whoever waits for an answer takes no thread from those who build, and does not queue behind them."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    await host.ensure(ground.request())
    is_free = threading.Event()
    building = loop.run_in_executor(None, is_free.wait)
    try:
        async with asyncio.timeout(WITHIN_S):
            assert await host.list_answering(make_question(ground)) == [ground.vip]
    finally:
        is_free.set()
        await building


def test_other_frames_are_nobody_s_answer() -> None:
    asked = solicitation(b"\x02" * 6, b"\xfd" + b"\0" * 14 + b"\x05")
    assert [read_answer(frame) for frame in (b"", asked, asked[:30], b"\0" * 60)] == [b"", b"", b"", b""]
