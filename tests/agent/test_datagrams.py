"""UDP through a real nginx in a real namespace: flows, members that go or fail, restarts, counters."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from statera.agent import process
from statera.agent.datagram_engine import MOST_SILENCES, DatagramEngine
from statera.agent.flows import TABLE
from statera.agent.host import AmphoraHost
from statera.agent.namespace import entered
from statera.agent.parting import MOST, list_masters
from statera.base.errors import Lasting
from statera.base.ids import new_id
from statera.base.processes import list_family
from statera.model.document import Document
from statera.model.engines import EngineName
from statera.model.enums import Algorithm, ListenerProtocol, MonitorType, PersistenceType, PoolProtocol
from statera.model.heartbeat import ListenerState, MemberState
from statera.model.spec import ListenerSpec, MonitorSpec, PersistenceSpec, PoolSpec
from statera.render.nginx import SIGN_ADDRESS, SIGN_PORT
from tests.agent.ground import Ground, eventually, fetch, means, web_server
from tests.agent.pair import Pair
from tests.agent.specs import make_document, make_listener, make_pool
from tests.fixtures.flow import Flow

pytestmark = pytest.mark.root

PORT = 5353
ANSWER_WITHIN_S = 2.0


class EchoServer:
    """Answers each datagram with its own port; it can be closed and opened again on the same port."""

    def __init__(self, address: str = "0.0.0.0") -> None:
        self._address = address
        self.port = 0
        self.heard = 0
        self.open()

    def open(self) -> None:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.bind((self._address, self.port))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, sender = self._socket.recvfrom(65535)
                if data == b"stop" and sender[0] == "127.0.0.1":
                    return
                self.heard += len(data) > 1
                self._socket.sendto(f"{self.port} {len(data)}".encode(), sender)

    def close(self) -> None:
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as stopper:
            stopper.sendto(b"stop", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


@contextlib.contextmanager
def echo_servers(number: int) -> Iterator[list[EchoServer]]:
    servers = [EchoServer() for _ in range(number)]
    try:
        yield servers
    finally:
        for server in servers:
            with contextlib.suppress(OSError):
                server.close()


class Client:
    """A client that keeps its source port."""

    def __init__(self, address: str, port: int = PORT) -> None:
        self._flow = Flow(address, port, ANSWER_WITHIN_S)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._flow.__exit__()

    async def ask(self, data: bytes = b"hello") -> str:
        """Return the first word of the answer, the member's port; "" for none."""
        # nginx answers with an empty datagram when a member refuses.
        return (await asyncio.to_thread(self._flow.ask, data)).partition(" ")[0]


async def ask_once(address: str, port: int = PORT) -> str:
    with Client(address, port) as client:
        return await client.ask()


def udp_listener(ground: Ground, **given: Any) -> ListenerSpec:
    plain: dict[str, Any] = {"protocol": ListenerProtocol.UDP, "engine": EngineName.NGINX, "port": PORT}
    return make_listener(ground, **(plain | given))


def udp_pool(ground: Ground, servers: list[EchoServer], **given: Any) -> PoolSpec:
    return make_pool(ground, [server.port for server in servers], **({"protocol": PoolProtocol.UDP} | given))


def udp_document(ground: Ground, servers: list[EchoServer], **given: Any) -> Document:
    return make_document(ground, [udp_listener(ground)], [udp_pool(ground, servers, **given)])


def udp_monitor(ground: Ground, kind: MonitorType = MonitorType.UDP_CONNECT, **given: Any) -> MonitorSpec:
    plain: dict[str, Any] = {"interval_ms": 400, "timeout_ms": 200, "rise": 1, "fall": 1}
    return MonitorSpec(id=ground.pool_id, type=kind, **(plain | given))


async def apply(host: AmphoraHost, ground: Ground, document: Document | None, generation: int = 1) -> str:
    return means(await host.apply(ground.amphora_id, ground.configuration(document, generation)))


async def test_flows_are_spread_and_answered_over_both_families(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(2) as servers:
        ports = {str(server.port) for server in servers}
        await host.ensure(ground.request())
        assert await apply(host, ground, udp_document(ground, servers)) == "reload"
        assert {await ask_once(ground.vip) for _ in range(4)} == ports
        assert {await ask_once(ground.vip6) for _ in range(4)} == ports
        with Client(ground.vip) as client:
            assert len({await client.ask() for _ in range(5)}) == 1
            assert await client.ask(b"x" * 30_000) in ports
        sandbox = host.sandboxes[ground.amphora_id]
        seen = sandbox.observe()
        assert (seen.haproxy_running, seen.generation) == (True, 1)
        assert seen.configuration_digest == udp_document(ground, servers).digest()
        # Nobody asked for HAProxy.
        assert sandbox.engine.find_pid() is None
        assert await apply(host, ground, udp_document(ground, servers), 2) == "unchanged"


async def test_http_and_udp_share_a_port_number(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(1) as servers, web_server() as port:
        http_pool = make_pool(ground, [port], new_id())
        listeners = [
            make_listener(ground, new_id(), pool_id=http_pool.id),
            udp_listener(ground, port=80),
        ]
        both = make_document(ground, listeners, [http_pool, udp_pool(ground, servers)])
        await host.ensure(ground.request())
        await apply(host, ground, both)
        assert await fetch(ground.vip) == str(port)
        assert await ask_once(ground.vip, 80) == str(servers[0].port)
        sandbox = host.sandboxes[ground.amphora_id]
        pids = sandbox.engine.find_pid(), sandbox.datagrams.nginx.find_pid()
        # Each goes its own way.
        assert await apply(host, ground, both.for_haproxy(), 2) == "reload"
        assert (await fetch(ground.vip), sandbox.datagrams.is_running) == (str(port), False)
        await apply(host, ground, both, 3)
        assert await ask_once(ground.vip, 80) == str(servers[0].port)
        assert sandbox.engine.find_pid() == pids[0]
        await apply(host, ground, udp_document(ground, servers), 4)
        assert (sandbox.engine.find_pid(), sandbox.datagrams.is_running) == (None, True)
        await apply(host, ground, None, 5)
        assert not sandbox.datagrams.is_running


async def test_no_flow_stays_with_a_removed_member(host: AmphoraHost, ground: Ground) -> None:
    """The client keeps its source port, as resolvers and phones do."""
    with echo_servers(2) as servers, Client(ground.vip) as client:
        await host.ensure(ground.request())
        await apply(host, ground, udp_document(ground, servers))
        met = await client.ask()
        gone = next(server for server in servers if str(server.port) == met)
        stays = next(server for server in servers if server is not gone)
        pool = udp_pool(ground, servers)
        left = msgspec.structs.replace(
            pool, members=tuple(member for member in pool.members if member.port == stays.port)
        )
        await apply(host, ground, make_document(ground, [udp_listener(ground)], [left]), 2)
        heard = gone.heard
        assert [await client.ask() for _ in range(5)] == [str(stays.port)] * 5
        assert gone.heard == heard
        # The same with weight 0, and when it is switched off.
        await apply(host, ground, udp_document(ground, servers), 3)
        changes: list[dict[str, Any]] = [{"weight": 0}, {"enabled": False}]
        for generation, change in enumerate(changes, start=4):
            members = tuple(
                msgspec.structs.replace(member, **change) if member.port == gone.port else member
                for member in pool.members
            )
            pools = [msgspec.structs.replace(pool, members=members)]
            await apply(host, ground, make_document(ground, [udp_listener(ground)], pools), generation)
            assert {await ask_once(ground.vip) for _ in range(4)} == {str(stays.port)}


class SlowMember:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(ANSWER_WITHIN_S)
        self._socket.bind(("0.0.0.0", 0))
        self.port = int(self._socket.getsockname()[1])

    def __enter__(self) -> "SlowMember":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def hear(self) -> Any:
        """Return who asked."""
        return (await asyncio.to_thread(self._socket.recvfrom, 65535))[1]

    def answer(self, sender: Any) -> None:
        self._socket.sendto(b"late", sender)


@pytest.mark.parametrize("family", ["vip", "vip6"])
async def test_answers_under_way_outlive_changes(host: AmphoraHost, ground: Ground, family: str) -> None:
    listener = udp_listener(ground, timeout_client_ms=1000, timeout_server_ms=1000)
    with echo_servers(1) as servers, SlowMember() as slow, Client(getattr(ground, family)) as client:
        await host.ensure(ground.request())
        before = make_document(ground, [listener], [make_pool(ground, [slow.port], protocol=PoolProtocol.UDP)])
        after = make_document(ground, [listener], [udp_pool(ground, servers)])
        await apply(host, ground, before)
        sandbox = host.sandboxes[ground.amphora_id]
        answer = asyncio.create_task(client.ask())
        sender = await slow.hear()
        assert await apply(host, ground, after, 2) == "reload"
        # The client's next datagram meets the new member, and the old one may still answer the first.
        slow.answer(sender)
        assert await answer == "late"
        assert await client.ask() == str(servers[0].port)
        (listener_seen,) = (await host.measure(sandbox)).listeners
        assert listener_seen.active_connections == 1

        async def is_alone() -> bool:
            return list_masters(ground.amphora_id) == {sandbox.datagrams.nginx.find_pid()}

        # One without flows is not kept.
        await eventually(is_alone, "the end of the one before")
        assert await client.ask() == str(servers[0].port)


async def test_those_that_only_answer_never_pile_up(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(2) as servers, Client(ground.vip) as client:
        await host.ensure(ground.request())
        for generation in range(1, MOST + 4):
            document = udp_document(ground, servers[: 1 + generation % 2])
            assert await apply(host, ground, document, generation) == "reload"
            assert await client.ask()

        async def are_few() -> bool:
            return len(list_masters(ground.amphora_id)) <= 1 + MOST

        await eventually(are_few, "the end of the oldest")
        assert await client.ask()
        # The next life of the agent knows them, too.
        current = host.sandboxes[ground.amphora_id].datagrams.nginx.find_pid()
        heir = ground.make_host()
        await heir.adopt()
        assert heir.sandboxes[ground.amphora_id].datagrams.nginx.find_pid() == current
        heir.forget_processes()
    await host.remove(ground.amphora_id, 10)
    assert ground.list_leftovers() == []


async def test_one_that_hung_when_another_took_over_ends_all_the_same(
    host: AmphoraHost, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statera.agent.parting.DEAF_AFTER_S", 0.2)
    with echo_servers(2) as servers:
        await host.ensure(ground.request())
        await apply(host, ground, udp_document(ground, servers[:1]))
        hung = process.list_running(ground.amphora_id)
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        assert await apply(host, ground, udp_document(ground, servers[1:]), 2) == "reload"
        datagrams = host.sandboxes[ground.amphora_id].datagrams

        async def have_ended() -> bool:
            await datagrams.end_parting()
            return set(process.list_running(ground.amphora_id)).isdisjoint(hung)

        await eventually(have_ended, "the end of those that hang")
        assert list_masters(ground.amphora_id) == {datagrams.nginx.find_pid()}
        assert await ask_once(ground.vip) == str(servers[1].port)


async def test_who_cannot_take_over_leaves_the_one_before(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(1) as servers:
        await host.ensure(ground.request())
        await apply(host, ground, udp_document(ground, servers))
        nginx = host.sandboxes[ground.amphora_id].datagrams.nginx
        pid, file = nginx.find_pid(), nginx.file.read_text()
        with entered(ground.amphora_id):
            taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with taken:
            # Not to be shared: the file is right, and nginx cannot serve it.
            taken.bind((ground.vip, PORT + 1))
            document = make_document(ground, [udp_listener(ground, port=PORT + 1)], [udp_pool(ground, servers)])
            with pytest.raises(Lasting, match=r"nginx does not start: .*Address already in use"):
                await apply(host, ground, document, 2)
        assert (nginx.find_pid(), nginx.file.read_text()) == (pid, file)
        assert await ask_once(ground.vip) == str(servers[0].port)
        assert await apply(host, ground, document, 3) == "reload"
        assert await ask_once(ground.vip, PORT + 1) == str(servers[0].port)


@pytest.mark.parametrize(
    "terms",
    [
        {"algorithm": Algorithm.SOURCE_IP},
        {"persistence": PersistenceSpec(type=PersistenceType.SOURCE_IP)},
        {"persistence": PersistenceSpec(type=PersistenceType.SOURCE_IP, granularity="255.255.255.0")},
    ],
)
async def test_a_client_keeps_its_member(host: AmphoraHost, ground: Ground, terms: dict[str, Any]) -> None:
    with echo_servers(4) as servers:
        await host.ensure(ground.request())
        await apply(host, ground, udp_document(ground, servers, **terms))
        met = {await ask_once(ground.vip) for _ in range(6)}
        assert len(met) == 1
        # Another member goes: the client stays where it is. Its own goes: it finds another, and stays there.
        others = [server for server in servers if str(server.port) not in met]
        pool = udp_pool(ground, servers, **terms)
        for generation, gone in enumerate((others[0].port, int(min(met))), start=2):
            left = tuple(member for member in pool.members if member.port != gone)
            pools = [msgspec.structs.replace(pool, members=left)]
            await apply(host, ground, make_document(ground, [udp_listener(ground)], pools), generation)
            now = {await ask_once(ground.vip) for _ in range(6)}
            assert len(now) == 1
            assert str(gone) not in now
            if gone == others[0].port:
                assert now == met


async def test_a_member_that_is_down_gets_nothing(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(2) as servers:
        await host.ensure(ground.request())
        document = udp_document(ground, servers, monitor=udp_monitor(ground))
        await apply(host, ground, document)
        sandbox = host.sandboxes[ground.amphora_id]

        async def list_states() -> dict[str, MemberState]:
            return {member.member_id: member.state for member in (await host.measure(sandbox)).members}

        down, up = servers
        states = {ground.member_ids[0]: MemberState.DOWN, ground.member_ids[1]: MemberState.UP}
        assert set((await list_states()).values()) == {MemberState.UP}
        down.close()

        async def is_out() -> bool:
            return await list_states() == states and {await ask_once(ground.vip) for _ in range(4)} == {str(up.port)}

        await eventually(is_out, "the end of a member that is down")
        seen = next(one for one in (await host.measure(sandbox)).members if one.state is MemberState.DOWN)
        assert (seen.check, seen.text) == ("L4CON", "Connection refused")
        # The document is what it was: nothing drifts.
        assert sandbox.observe().configuration_digest == document.digest()
        # The next life of the agent does not begin by trying it out on clients.
        heir = ground.make_host()
        await heir.adopt()
        states_of_heir = (await heir.measure(heir.sandboxes[ground.amphora_id])).members
        assert {one.member_id: one.state for one in states_of_heir} == states
        heir.forget_processes()
        down.open()

        async def is_back() -> bool:
            return {await ask_once(ground.vip) for _ in range(4)} == {str(server.port) for server in servers}

        await eventually(is_back, "the return of a member")


async def test_backups_serve_when_nobody_else_does(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(2) as servers:
        await host.ensure(ground.request())
        pool = udp_pool(ground, servers, monitor=udp_monitor(ground))
        members = (pool.members[0], msgspec.structs.replace(pool.members[1], backup=True))
        pools = [msgspec.structs.replace(pool, members=members)]
        await apply(host, ground, make_document(ground, [udp_listener(ground)], pools))
        assert {await ask_once(ground.vip) for _ in range(4)} == {str(servers[0].port)}
        servers[0].close()

        async def is_backup() -> bool:
            return {await ask_once(ground.vip) for _ in range(3)} == {str(servers[1].port)}

        await eventually(is_backup, "the backup")


@pytest.mark.parametrize("kind", [MonitorType.HTTP, MonitorType.TCP])
async def test_members_are_checked_over_tcp(host: AmphoraHost, ground: Ground, kind: MonitorType) -> None:
    with echo_servers(2) as servers, web_server() as port:
        await host.ensure(ground.request())
        pool = udp_pool(ground, servers, monitor=udp_monitor(ground, kind, timeout_ms=1000))
        members = (msgspec.structs.replace(pool.members[0], monitor_port=port), pool.members[1])
        pools = [msgspec.structs.replace(pool, members=members)]
        await apply(host, ground, make_document(ground, [udp_listener(ground)], pools))
        sandbox = host.sandboxes[ground.amphora_id]
        works = ("L7OK", 200) if kind is MonitorType.HTTP else ("L4OK", None)

        async def is_judged() -> bool:
            first, second = (await host.measure(sandbox)).members
            judged = (first.check, first.code) == works and second.text == "Connection refused"
            return judged and {await ask_once(ground.vip) for _ in range(3)} == {str(servers[0].port)}

        await eventually(is_judged, "a verdict on both members")


async def test_allowed_networks_are_kept_to(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(1) as servers:
        await host.ensure(ground.request())
        near = f"{ground.gateway}/32"
        for generation, (cidrs, answer) in enumerate(
            [(("192.0.2.0/24",), ""), (("192.0.2.0/24", near), str(servers[0].port))], start=1
        ):
            listener = udp_listener(ground, allowed_cidrs=cidrs)
            document = make_document(ground, [listener], [udp_pool(ground, servers)])
            await apply(host, ground, document, generation)
            assert await ask_once(ground.vip) == answer


async def test_nginx_comes_back_and_is_adopted(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(1) as servers:
        await host.ensure(ground.request())
        await apply(host, ground, udp_document(ground, servers))
        sandbox = host.sandboxes[ground.amphora_id]
        pid = sandbox.datagrams.nginx.find_pid()
        assert pid is not None
        heir = ground.make_host()
        await heir.adopt()
        assert heir.sandboxes[ground.amphora_id].datagrams.nginx.find_pid() == pid
        assert await apply(heir, ground, udp_document(ground, servers), 2) == "unchanged"
        heir.forget_processes()
        os.kill(pid, signal.SIGKILL)

        async def is_back() -> bool:
            return sandbox.datagrams.nginx.find_pid() not in (None, pid) and bool(await ask_once(ground.vip))

        await eventually(is_back, "nginx")
    await host.remove(ground.amphora_id, 1)
    assert ground.list_leftovers() == []


async def ask_often(engine: DatagramEngine) -> None:
    for _ in range(MOST_SILENCES + 1):
        engine.ask()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("which", [slice(None), slice(1, None)], ids=["all", "worker"])
async def test_an_nginx_that_hangs_is_ended_and_started_again(ground: Ground, which: slice) -> None:
    # Its watch begins later: it would ask, too.
    host = ground.make_host()
    await host.adopt()
    with echo_servers(1) as servers, capture_logs() as logged:
        await host.ensure(ground.request())
        await apply(host, ground, udp_document(ground, servers))
        sandbox = host.sandboxes[ground.amphora_id]
        nginx = sandbox.datagrams.nginx
        pid = nginx.find_pid()
        assert pid is not None
        await ask_often(nginx)
        assert not nginx.is_hung
        for one in list_family(pid)[which]:
            os.kill(one, signal.SIGSTOP)
        await ask_often(nginx)
        assert nginx.is_hung
        assert {one.status for one in (await host.measure(sandbox)).listeners} == {ListenerState.STOP}
        stop = asyncio.Event()
        watching = asyncio.create_task(host.watch(stop))

        async def is_back() -> bool:
            return nginx.find_pid() not in (None, pid) and bool(await ask_once(ground.vip))

        try:
            await eventually(is_back, "nginx")
        finally:
            stop.set()
            await watching
        assert list_masters(ground.amphora_id) == {nginx.find_pid()}
        assert [one["hung"] for one in logged if one["event"] == "sandbox broken, mending it"] == ["nginx"]
        # Nor does it take the first question for one that was left alone.
        await ask_often(nginx)
        assert not nginx.is_hung


async def test_an_nginx_that_hangs_keeps_no_edit_waiting(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(2) as servers:
        await host.ensure(ground.request())
        await apply(host, ground, udp_document(ground, servers[:1]))
        nginx = host.sandboxes[ground.amphora_id].datagrams.nginx
        hung = process.list_running(ground.amphora_id)
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        await ask_often(nginx)
        assert await apply(host, ground, udp_document(ground, servers[1:]), 2) == "reload"
        assert await ask_once(ground.vip) == str(servers[1].port)
        assert set(process.list_running(ground.amphora_id)).isdisjoint(hung)


async def test_an_nginx_is_not_hung_that_nobody_could_ask(host: AmphoraHost, ground: Ground) -> None:
    """Files of older versions name no place for questions."""
    with echo_servers(1) as servers:
        await host.ensure(ground.request())
        await apply(host, ground, udp_document(ground, servers))
        sandbox = host.sandboxes[ground.amphora_id]
        nginx = sandbox.datagrams.nginx
        lines = nginx.file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if f"listen {SIGN_ADDRESS}:{SIGN_PORT} " not in line]
        assert len(kept) == len(lines) - 1
        nginx.launch.folders.write(nginx.file.name, "".join(kept))
        async with sandbox.lock:
            await nginx.start()
        await ask_often(nginx)
        assert not nginx.is_hung
        assert await ask_once(ground.vip) == str(servers[0].port)


async def test_one_that_cannot_be_adopted_keeps_nobody_else_and_is_adopted_later(ground: Ground) -> None:
    first, other = ground.make_host(), new_id()
    await first.adopt()
    with echo_servers(1) as servers:
        await first.ensure(ground.request())
        await first.ensure(ground.request(amphora_id=other, mac_address="02:00:00:00:0b:01", vips=()))
        await apply(first, ground, udp_document(ground, servers))
        first.forget_processes()
        keys = first.sandboxes[ground.amphora_id].folders.run / "keys"
        keys.mkdir()
        (keys / "lost").symlink_to("/nowhere")
        again = ground.make_host()
        await again.adopt()
        assert again.sandboxes.keys() == {ground.amphora_id, other}
        sandbox = again.sandboxes[ground.amphora_id]
        assert (await again.measure(sandbox)).listeners == ()
        (keys / "lost").unlink()
        stop = asyncio.Event()
        watching = asyncio.create_task(again.watch(stop))

        async def is_adopted() -> bool:
            return len((await again.measure(sandbox)).listeners) == 1

        try:
            await eventually(is_adopted, "its listener")
        finally:
            stop.set()
            await watching


async def test_a_dead_haproxy_comes_back_while_nginx_cannot_be_reloaded(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(2) as servers, web_server() as port:
        await host.ensure(ground.request())
        http_pool = make_pool(ground, [port], new_id())
        listeners = [make_listener(ground, new_id(), pool_id=http_pool.id), udp_listener(ground)]
        pools = [http_pool, udp_pool(ground, servers, monitor=udp_monitor(ground))]
        await apply(host, ground, make_document(ground, listeners, pools))
        sandbox = host.sandboxes[ground.amphora_id]
        nginx, haproxy = sandbox.datagrams.nginx, sandbox.engine.find_pid()
        assert haproxy is not None
        # As while a package is replaced. A member that fails asks for a reload, again and again.
        there, nginx._agent = nginx._agent, msgspec.structs.replace(nginx._agent, nginx="/nowhere/nginx")
        servers[0].close()

        async def has_failed() -> bool:
            return "/nowhere/nginx" in nginx._words.file.read_text()

        await eventually(has_failed, "a reload that fails")
        os.kill(haproxy, signal.SIGKILL)

        async def serves() -> bool:
            return sandbox.engine.find_pid() not in (None, haproxy) and await fetch(ground.vip) == str(port)

        await eventually(serves, "HAProxy")
        nginx._agent = there

        async def is_out() -> bool:
            return {await ask_once(ground.vip) for _ in range(4)} == {str(servers[1].port)}

        await eventually(is_out, "the end of a member that is down")


async def test_what_nginx_refuses_changes_nothing(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(1) as servers, web_server() as port:
        await host.ensure(ground.request())
        http_pool = make_pool(ground, [port], new_id())
        listeners = [make_listener(ground, new_id(), pool_id=http_pool.id), udp_listener(ground)]
        good = make_document(ground, listeners, [http_pool, udp_pool(ground, servers)])
        await apply(host, ground, good)
        assert good.datagrams is not None
        twice = msgspec.structs.replace(good.datagrams, pools=good.datagrams.pools * 2)
        bad = msgspec.structs.replace(good, datagrams=twice)
        verdict = await host.check(ground.amphora_id, ground.configuration(bad, 2))
        assert not verdict.accepted
        assert "duplicate upstream" in verdict.words
        assert (await host.check(new_id(), ground.configuration(good, 2))).accepted
        with pytest.raises(Lasting, match=r"nginx rejects the configuration: .*duplicate upstream"):
            await apply(host, ground, bad, 2)
        assert (await fetch(ground.vip), await ask_once(ground.vip)) == (str(port), str(servers[0].port))
        assert host.sandboxes[ground.amphora_id].observe().generation == 1


async def test_traffic_is_counted(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(1) as servers:
        await host.ensure(ground.request())
        await apply(host, ground, udp_document(ground, servers))
        sandbox = host.sandboxes[ground.amphora_id]
        with Client(ground.vip) as one, Client(ground.vip6) as other:
            for client in (one, one, other):
                await client.ask(b"x" * 100)
            (listener,) = (await host.measure(sandbox)).listeners
            assert (listener.status, listener.total_connections) == (ListenerState.OPEN, 2)
            assert listener.active_connections == 2
            # Three datagrams with their headers: 28 bytes over IPv4, 48 over IPv6.
            assert listener.bytes_in == 2 * 128 + 148
            assert 0 < listener.bytes_out < listener.bytes_in
        await apply(host, ground, udp_document(ground, servers, algorithm=Algorithm.LEAST_CONNECTIONS), 2)
        (after,) = (await host.measure(sandbox)).listeners
        assert (after.total_connections, after.bytes_in) == (listener.total_connections, listener.bytes_in)


async def test_what_cannot_be_read_of_counters_is_not_counted_twice(
    host: AmphoraHost, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    with echo_servers(1) as servers:
        await host.ensure(ground.request())
        document = udp_document(ground, servers)
        await apply(host, ground, document)
        assert document.datagrams is not None
        datagrams = host.sandboxes[ground.amphora_id].datagrams

        async def count_flows(haproxy: int) -> int:
            (listener,), _ = await datagrams.observe(haproxy)
            return listener.total_connections

        await ask_once(ground.vip)
        await ask_once(ground.vip)
        assert await count_flows(1) == 2
        with monkeypatch.context() as patched:
            # No `nft` is found.
            patched.setenv("PATH", "/nowhere")
            assert await count_flows(1) == 2
        assert await count_flows(2) == 0
        await ask_once(ground.vip)
        assert await count_flows(2) == 1
        # In another namespace the kernel begins at 0: what it had counted is not lost, and what it counts now is told.
        with entered(ground.amphora_id):
            subprocess.run(["nft", "delete", "table", "inet", TABLE], check=True)
        await datagrams._flows.ensure(document.datagrams)
        assert await count_flows(2) == 1
        await ask_once(ground.vip)
        assert await count_flows(2) == 2


async def test_a_pair_that_serves_only_udp_moves_its_vips(host: AmphoraHost, ground: Ground) -> None:
    pair = Pair(ground, host)
    with echo_servers(1) as servers, web_server() as port:
        await pair.build(port)
        # The lifeline goes from HAProxy to nginx, which then is the only one that serves.
        for amphora_id in pair.ids:
            await host.apply(amphora_id, ground.configuration(udp_document(ground, servers), 2))
        await eventually(pair.has_one_master, "one master")
        first, second = await pair.order()
        nginx = pair.sandbox(first).datagrams.nginx
        assert not nginx.is_misheld
        # A change is no reason to move: both hold the lifeline until the one before has answered.
        pid = nginx.find_pid()
        changed = udp_document(ground, servers, algorithm=Algorithm.LEAST_CONNECTIONS)
        for amphora_id in pair.ids:
            assert means(await host.apply(amphora_id, ground.configuration(changed, 3))) == "reload"
        assert (nginx.find_pid() != pid, nginx.is_misheld, pair.masters()) == (True, False, [first])

        # A worker serves on without its master: only when all are gone nobody serves.
        async def has_moved() -> bool:
            return pair.masters() == [second] and await ask_once(ground.vip) == str(servers[0].port)

        # Held, so that the agent is not quicker in starting another one than the neighbour is in taking over.
        async with pair.sandbox(first).lock:
            for pid in process.list_running(first, only=("nginx",)):
                os.kill(pid, signal.SIGKILL)
            await eventually(has_moved, "the VIPs at the other one")
        await host.apply(second, ground.configuration(ground.document([port]), 4))

        async def is_http() -> bool:
            return await pair.has_one_master() and await fetch(ground.vip) == str(port)

        await host.apply(first, ground.configuration(ground.document([port]), 4))
        await eventually(is_http, "HTTP again")
