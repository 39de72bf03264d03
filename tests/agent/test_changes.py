"""What changes without a reload: ranges, monitors switched off and on, backups; and how members leave."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from statera.agent.host import AmphoraHost
from statera.agent.pace import Pace
from statera.agent.runtime import ask, list_old_workers
from statera.agent.sandbox import Sandbox
from statera.model.document import Document, TextPart
from statera.model.enums import Algorithm
from statera.render.haproxy import MOST_OLD_WORKERS
from tests.agent.ground import WITHIN_S, Ground, eventually, fetch, means, web_server
from tests.agent.specs import make_document, make_listener, make_pool

pytestmark = pytest.mark.root


async def begin(host: AmphoraHost, ground: Ground, document: Document) -> Sandbox:
    """Build the sandbox and bring the first document live."""
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(document))
    sandbox = host.find(ground.amphora_id)
    assert sandbox is not None
    return sandbox


async def change(host: AmphoraHost, ground: Ground, document: Document) -> str:
    """Bring the next document live; say by which means."""
    return means(await host.apply(ground.amphora_id, ground.configuration(document, 2)))


async def list_states(sandbox: Sandbox) -> dict[str, str]:
    """Return each server's status as HAProxy shows it."""
    rows = [line.split(",") for line in (await sandbox.engine.read_statistics()).splitlines()]
    return {row[1]: row[17] for row in rows if len(row) > 17 and row[1] not in ("svname", "FRONTEND", "BACKEND")}


async def restart(sandbox: Sandbox) -> None:
    """Kill HAProxy and wait until the agent has brought it back."""
    pid = sandbox.engine.find_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def is_back() -> bool:
        return sandbox.engine.find_pid() not in (None, pid) and (sandbox.folders.live / "stats").exists()

    await eventually(is_back, "HAProxy")
    await eventually(lambda: list_or_none(sandbox), "Its answer")


async def list_or_none(sandbox: Sandbox) -> dict[str, str] | None:
    try:
        return await list_states(sandbox)
    except Exception:
        return None


async def test_ranges_change_without_a_reload_and_outlive_a_restart(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        mine, other = f"{ground.gateway}/32", "198.51.100.0/24"
        sandbox = await begin(host, ground, ground.document([port], cidrs=(mine, other)))
        assert await fetch(ground.vip) == str(port)
        assert await change(host, ground, ground.document([port], cidrs=(other,))) == "runtime"
        assert await fetch(ground.vip) != str(port)
        await restart(sandbox)
        assert await fetch(ground.vip) != str(port)
        assert await change(host, ground, ground.document([port], cidrs=(other, mine))) == "runtime"
        assert await fetch(ground.vip) == str(port)
        # No range at all is another rule.
        assert await change(host, ground, ground.document([port])) == "reload"
        assert await fetch(ground.vip) == str(port)
        assert list(sandbox.folders.lists.iterdir()) == []


async def test_a_monitor_is_switched_off_and_on_without_a_reload(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        on = ground.document([port, 9], monitored=True)
        off = ground.document([port, 9], monitored=True, checking=False)
        sandbox = await begin(host, ground, on)
        good, bad = ground.member_ids[:2]

        async def is_down() -> bool:
            return (await list_states(sandbox))[bad].startswith("DOWN")

        await eventually(is_down, "DOWN")
        assert await change(host, ground, off) == "runtime"
        assert await list_states(sandbox) == {good: "no check", bad: "no check"}
        # A reload begins without checks, and so does a new process.
        other = ground.document([port, 9], monitored=True, checking=False, listen=81)
        assert await change(host, ground, other) == "reload"
        assert await list_states(sandbox) == {good: "no check", bad: "no check"}
        await restart(sandbox)
        assert await list_states(sandbox) == {good: "no check", bad: "no check"}
        again = ground.document([port, 9], monitored=True, listen=81)
        assert await change(host, ground, again) == "runtime"
        await eventually(is_down, "DOWN")


async def test_an_idle_member_becomes_a_backup_without_a_reload(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as first, web_server() as second:
        await begin(host, ground, ground.document([first, second]))
        assert await change(host, ground, ground.document([first, second], backups=[second])) == "runtime"
        assert {await fetch(ground.vip) for _ in range(4)} == {str(first)}


@asynccontextmanager
async def busy_connection(ground: Ground, sandbox: Sandbox) -> AsyncIterator[socket.socket]:
    """Hold a request that its member has not answered yet."""
    with closing(socket.create_connection((ground.vip, 80), timeout=WITHIN_S)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")

        async def is_there() -> bool:
            rows = [line.split(",") for line in (await sandbox.engine.read_statistics()).splitlines()]
            return any(len(row) > 17 and row[1] in ground.member_ids and row[4] == "1" for row in rows)

        await eventually(is_there, "The connection to the member")
        yield client


def open_silent() -> socket.socket:
    """Listen, take connections and never answer."""
    return socket.create_server(("0.0.0.0", 0), backlog=16)


async def test_a_busy_member_becomes_a_backup_by_a_reload_and_loses_nothing(host: AmphoraHost, ground: Ground) -> None:
    with closing(open_silent()) as silent, web_server() as other:
        port = silent.getsockname()[1]
        sandbox = await begin(host, ground, ground.document([port]))
        async with busy_connection(ground, sandbox) as client:
            assert await change(host, ground, ground.document([port, other], backups=[port])) == "reload"
            assert {await fetch(ground.vip) for _ in range(2)} == {str(other)}
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(1)


@pytest.mark.parametrize("by", ["removal", "weight", "reload"])
async def test_a_member_that_leaves_finishes_its_connections_within_a_time(ground: Ground, by: str) -> None:
    host = ground.make_host(ground.make_settings(drain_s=1.0))
    await host.adopt()
    stop = asyncio.Event()
    watching = asyncio.create_task(host.watch(stop))
    try:
        with closing(open_silent()) as silent:
            port = silent.getsockname()[1]
            sandbox = await begin(host, ground, ground.document([port]))
            left = {
                "removal": ground.document([]),
                "weight": ground.document([port], weights=[0]),
                "reload": ground.document([], listen=81),
            }
            async with busy_connection(ground, sandbox) as client:
                began = time.monotonic()
                assert await change(host, ground, left[by]) == ("reload" if by == "reload" else "runtime")
                answer = await asyncio.to_thread(client.recv, 100)
                assert time.monotonic() - began > 0.9
                assert not answer.startswith(b"HTTP/1.1 200")

            async def is_right() -> bool:
                told = await ask(sandbox.folders.live / "stats", "show servers conn")
                return (ground.member_ids[0] in told) == (by == "weight")

            await eventually(is_right, "The end of the server")
    finally:
        stop.set()
        await watching


async def test_old_workers_do_not_pile_up(host: AmphoraHost, ground: Ground) -> None:
    with closing(open_silent()) as silent:
        patient = [make_listener(ground, timeout_client_ms=60_000, timeout_server_ms=60_000)]
        pools = [make_pool(ground, [silent.getsockname()[1]], algorithm=one) for one in list(Algorithm)[:2]]
        documents = [make_document(ground, patient, [one]) for one in pools]
        sandbox = await begin(host, ground, documents[0])
        master, held = sandbox.folders.live / "master", []
        try:
            for number in range(MOST_OLD_WORKERS + 3):
                # Each worker has a connection that does not end by itself.
                held.append(socket.create_connection((ground.vip, 80), timeout=WITHIN_S))
                held[-1].sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
                await sandbox.engine._reload(None, documents[(number + 1) % 2])
                sandbox.engine._pace = Pace()

            async def is_bounded() -> bool:
                workers = len(list_old_workers(await ask(master, "show proc;quit")))
                assert workers >= MOST_OLD_WORKERS
                return workers <= MOST_OLD_WORKERS + 1

            await eventually(is_bounded, "The end of the oldest workers")
        finally:
            for client in held:
                client.close()


async def test_a_check_tells_haproxys_words_and_changes_nothing(host: AmphoraHost, ground: Ground) -> None:
    good = ground.document([9], cidrs=("10.0.0.0/8",))
    bad = Document(parts=(*good.parts, TextPart(text="    bogus words\n")))
    before = None
    for is_live in (False, True):
        if is_live:
            await begin(host, ground, ground.document([9]))
            before = host.observe(), sorted(ground.run_dir.rglob("*"))
        assert (await host.check(ground.amphora_id, ground.configuration(good))).accepted
        verdict = await host.check(ground.amphora_id, ground.configuration(bad))
        assert not verdict.accepted
        assert "bogus" in verdict.words
        assert list(ground.run_dir.glob("amphorae/check-*")) == []
    assert (host.observe(), sorted(ground.run_dir.rglob("*"))) == before
