"""An amphora hands its VIPs over to another one: nobody's connection breaks, and nobody waits who need not."""

import asyncio
import contextlib
import errno
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from statera.agent import namespace
from statera.agent.announce import announce
from statera.agent.host import AmphoraHost
from statera.agent.neighbours import ask, open_network
from statera.base.ids import new_id
from statera.model.agent_wire import SandboxRequest
from statera.model.spec import SandboxSpec
from tests.agent.ground import HEARTBEAT_KEY, WITHIN_S, Ground, eventually, fetch, web_server

pytestmark = pytest.mark.root

HANDS_OVER_S = 10
LATE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate"


async def stand_by(ground: Ground, host: AmphoraHost) -> SandboxSpec:
    """Build one without VIPs; return what lets it take the ground's over."""
    net, net6 = ground.gateway.rpartition(".")[0], ground.gateway6[:-1]
    addresses = (f"{net}.11/24", f"{net6}11/64")
    taking = ground.sandbox(new_id(), mac_address="02:00:00:00:0a:02", addresses=addresses)
    await ensure(host, ground.sandbox(taking.amphora_id, mac_address="02:00:00:00:0a:02", addresses=addresses, vips=()))
    giver = tuple(text.partition("/")[0] for text in ground.sandbox().interfaces[0].addresses)
    return msgspec.structs.replace(taking, handed_over_by=giver)


async def ensure(host: AmphoraHost, spec: SandboxSpec) -> None:
    await host.ensure(SandboxRequest(epoch=1, sandbox=spec, heartbeat_key=HEARTBEAT_KEY))


@contextlib.asynccontextmanager
async def slow_request(ground: Ground, host: AmphoraHost) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """Build the ground's amphora and ask it something; give what lets the member answer, and returns the answer."""
    asked, released = asyncio.Event(), asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await released.wait()
        writer.write(LATE)
        await writer.drain()
        writer.close()

    member = await asyncio.start_server(hold, "0.0.0.0", 0)
    async with member, asyncio.timeout(2 * WITHIN_S):
        await host.ensure(ground.request())
        document = ground.document([member.sockets[0].getsockname()[1]])
        await host.apply(ground.amphora_id, ground.configuration(document))
        reader, writer = await asyncio.open_connection(ground.vip, 80)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await asked.wait()

        async def finish() -> bytes:
            released.set()
            return await reader.read()

        yield finish
        writer.close()


@pytest.mark.usefixtures("many_descriptors")
async def test_a_busy_host_hands_over_and_ends_no_connection(ground: Ground, host: AmphoraHost) -> None:
    """Its agent has more descriptors open than select(2) takes."""
    async with slow_request(ground, host) as finish:
        with web_server() as port:
            successor = await stand_by(ground, host)
            await host.apply(successor.amphora_id, ground.configuration(ground.document([port])))
            await ensure(host, successor)
            removing = asyncio.create_task(host.remove(ground.amphora_id, 1, hands_over_s=HANDS_OVER_S))

            async def has_moved() -> bool:
                return not namespace.has_vips(ground.sandbox()) and await fetch(ground.vip) == str(port)

            await eventually(has_moved, "the VIP at its successor")
            assert (await finish()).endswith(b"late")
            await removing
            assert not namespace.exists(ground.amphora_id)
            assert await fetch(ground.vip) == str(port)


async def test_one_that_cannot_ask_for_its_successor_ends_no_connection(
    ground: Ground, host: AmphoraHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("statera.agent.handover.open_network", fail)
    async with slow_request(ground, host) as finish:
        sandbox = host.sandboxes[ground.amphora_id]
        # Nobody tells where the VIPs are from now on: the client is to remember it.
        known = [ground.vip, "lladdr", ground.sandbox().interfaces[0].mac_address, "dev", ground.bridge]
        subprocess.run(["ip", "neighbour", "replace", *known, "nud", "permanent"], check=True)
        pid = sandbox.engine.find_pid()
        assert pid is not None
        removing = asyncio.create_task(host.remove(ground.amphora_id, 1, hands_over_s=HANDS_OVER_S))

        async def refuses() -> bool:
            with contextlib.suppress(ConnectionError):
                _, writer = await asyncio.open_connection(ground.vip, 80)
                writer.close()
                return False
            return True

        await eventually(refuses, "a HAProxy that takes no more")
        assert sandbox.engine.find_pid() == pid
        assert (await finish()).endswith(b"late")
        await removing


async def test_one_that_cannot_give_the_vips_up_goes_at_once(
    ground: Ground, host: AmphoraHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would refuse what comes for them as long as its connections last: here 5 s, after which HAProxy ends them."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("statera.agent.handover.keep_behind", fail)
    async with slow_request(ground, host), asyncio.timeout(3):
        await host.remove(ground.amphora_id, 1, hands_over_s=HANDS_OVER_S)
        assert not namespace.exists(ground.amphora_id)


async def test_who_waits_for_its_successor_does_not_hold_up_its_building(ground: Ground, host: AmphoraHost) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    await host.ensure(ground.request())
    successor = await stand_by(ground, host)
    removing = asyncio.create_task(host.remove(ground.amphora_id, 1, hands_over_s=3 * HANDS_OVER_S))

    async def has_given_up() -> bool:
        return not namespace.has_vips(ground.sandbox())

    async with asyncio.timeout(HANDS_OVER_S):
        await eventually(has_given_up, "an amphora without VIPs")
        await ensure(host, successor)
        await removing
    assert not namespace.exists(ground.amphora_id)


async def test_what_an_amphora_says_itself_is_no_successor_s_answer(ground: Ground, host: AmphoraHost) -> None:
    await host.ensure(ground.request())
    (home,) = ground.sandbox().interfaces

    def listen() -> list[str]:
        with namespace.entered(ground.amphora_id):
            raw = open_network(home.name)
            announce(home.name, home.vips)
        with raw:
            return ask(raw, home.vips, 0.1)

    assert await asyncio.to_thread(listen) == []
