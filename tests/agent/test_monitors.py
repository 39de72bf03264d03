"""Health monitors of every kind: HAProxy asks real members, and what it saw becomes the words that a tenant reads."""

import datetime as dt
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from statera.agent.host import AmphoraHost
from statera.base.ids import new_id
from statera.model.enums import OperatingStatus
from statera.model.heartbeat import Heartbeat
from statera.model.observed import merge_heartbeats
from statera.model.status import StatusChange, derive_statuses
from statera.model.tree import Tree
from statera.plan.spec import decide_amphora_spec
from statera.render.engine import haproxy_capabilities
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS
from tests.agent.ground import LIMITS, Ground, eventually
from tests.fixtures.certificates import make_authority
from tests.golden.cases import make_tree

pytestmark = pytest.mark.root

ONLINE, ERROR = OperatingStatus.ONLINE, OperatingStatus.ERROR
REFUSED = "the connection failed (layer 4) [L4CON: Connection refused"


class _Server(socketserver.ThreadingTCPServer):
    """Answers each connection with what its port stands for: web pages when they are asked for, the rest at once."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, answer: str, context: ssl.SSLContext | None) -> None:
        self.answer, self.context, self.asked = answer, context, ""
        super().__init__(("0.0.0.0", 0), _Connection)

    def handle_error(self, *_: object) -> None:
        """Say nothing: checks end in the middle of things."""


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        line: socket.socket = self.request
        line.settimeout(10.0)
        if self.server.context is not None:
            line = self.server.context.wrap_socket(line, server_side=True)
        if not self.server.answer:
            # Silent, until the other side gives up.
            while line.recv(4096):
                pass
            return
        asked = b""
        while b"\r\n\r\n" not in asked and self.server.answer.startswith("HTTP/"):
            more = line.recv(4096)
            if not more:
                return
            asked += more
        self.server.asked = asked.decode()
        for part in self.server.answer.split("|"):
            line.sendall(part.encode())
            time.sleep(0.05)


def page(status: str, body: str = "all is well ☀") -> str:
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, _Server]]:
    """Give a server of each sort by name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "member.pem").write_bytes(make_authority().issue("member.test").bundle_pem)
    context.load_cert_chain(tmp_path / "member.pem")
    sorts: dict[str, tuple[str, ssl.SSLContext | None]] = {
        "well": (page("200 OK"), None),
        "halves": ("HTTP/1.1 200 OK\r\n\r\n" + "x" * 2000 + "all is |well ☀", None),
        "ill": (page("500 Oh No"), None),
        "busy": (page("503 Busy"), None),
        "other words": (page("200 OK", "maintenance"), None),
        "accepted": (page("202 Accepted"), None),
        "garbage": ("220 mail ready\r\n\r\n", None),
        "silent": ("", None),
        "secure": (page("200 OK"), context),
        "secure ill": (page("500 Oh No"), context),
    }
    made = {name: _Server(*sort) for name, sort in sorts.items()}
    threads = [
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True) for one in made.values()
    ]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        for one in made.values():
            one.shutdown()
            one.server_close()
        for thread in threads:
            thread.join()


class Watched:
    """One load balancer with a pool for each monitor that is given, live on a host."""

    def __init__(self, host: AmphoraHost, ground: Ground, servers: dict[str, _Server]) -> None:
        self.host, self.ground, self.servers = host, ground, servers
        self.names: dict[str, tuple[str, str]] = {}
        """By member id: the names of its monitor and its server."""
        self.tree: Tree

    async def watch(self, monitors: dict[str, tuple[dict[str, Any], list[str]]]) -> None:
        """Bring a load balancer live: by name, each monitor with the members that it looks at."""
        listeners, pools = [], []
        for number, (name, (monitor, members)) in enumerate(monitors.items()):
            pool_id = new_id()
            listeners.append(
                {"id": new_id(), "protocol": "TCP", "protocol_port": 9000 + number, "default_pool_id": pool_id}
            )
            plain = {"delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
            pools.append(
                {
                    "id": pool_id,
                    "protocol": "TCP",
                    "lb_algorithm": "ROUND_ROBIN",
                    "health_monitor": plain | monitor,
                    "members": [self._member(name, member) for member in members],
                }
            )
        self.tree = make_tree({"listeners": listeners, "pools": pools})
        engine = haproxy_capabilities("2.6.12")
        document = render_haproxy(decide_amphora_spec(self.tree, "amphora", LIMITS), engine, SANDBOX_PATHS)
        await self.host.ensure(self.ground.request())
        await self.host.apply(self.ground.amphora_id, self.ground.configuration(document))

    def _member(self, monitor: str, server: str) -> dict[str, Any]:
        member_id = new_id()
        self.names[member_id] = (monitor, server)
        port = self.servers[server].server_address[1] if server in self.servers else 1
        return {"id": member_id, "address": self._address(server), "protocol_port": port}

    def _address(self, server: str) -> str:
        # Nobody has the last address of the bridge's network.
        return f"{self.ground.gateway.rpartition('.')[0]}.254" if server == "nobody" else self.ground.gateway

    async def tell(self) -> dict[tuple[str, str], StatusChange]:
        """Return what the API would show of each member, by monitor and server."""
        sandbox = self.host.find(self.ground.amphora_id)
        assert sandbox is not None
        metrics = await self.host.measure(sandbox)
        # Until its first check a member counts as well, which proves nothing.
        checked = tuple(member for member in metrics.members if member.check not in ("", "INI"))
        heartbeat = Heartbeat(
            amphora_id=self.ground.amphora_id,
            load_balancer_id=self.ground.load_balancer_id,
            boot=1,
            sequence=1,
            sent_at=0.0,
            generation=1,
            epoch=1,
            haproxy_running=metrics.haproxy_running,
            listeners=metrics.listeners,
            members=checked,
        )
        observed = merge_heartbeats([heartbeat])
        changes = derive_statuses(self.tree, observed, dt.datetime.now(dt.UTC))
        return {self.names[change.id]: change for change in changes if change.id in self.names}

    async def expect(self, wanted: dict[tuple[str, str], str]) -> None:
        """Wait until each member is as wanted: "" for ONLINE, else words of its reason."""

        async def is_so() -> bool:
            told = await self.tell()
            return all(_is_as(told.get(place), words) for place, words in wanted.items())

        try:
            await eventually(is_so, "the statuses")
        except AssertionError as error:
            told = await self.tell()
            shown = {place: (change.operating_status, change.reason) for place, change in told.items()}
            raise AssertionError({place: shown.get(place) for place in wanted}) from error


def _is_as(change: StatusChange | None, words: str) -> bool:
    if change is None:
        return False
    if not words:
        return change.operating_status is ONLINE
    reason = change.reason
    return change.operating_status is ERROR and reason is not None and words in reason.sentence


@pytest.fixture
def watched(host: AmphoraHost, ground: Ground, servers: dict[str, _Server]) -> Watched:
    return Watched(host, ground, servers)


async def test_http_tells_how_each_member_fails(watched: Watched) -> None:
    began = dt.datetime.now(dt.UTC)
    members = ["well", "refused", "nobody", "silent", "ill", "garbage"]
    await watched.watch({"plain": ({"type": "HTTP", "url_path": "/"}, members)})
    wanted = {
        "well": "",
        "refused": f"The HTTP check of {watched.ground.gateway}:1 fails: {REFUSED}",
        "nobody": "no connection within the timeout (layer 4) [L4TOUT",
        "silent": "no answer within the timeout (layer 7) [L7TOUT",
        "ill": "the answer was not the expected one (layer 7) [L7STS, code 500: Oh No].",
        "garbage": "the answer was not understood (layer 7) [L7RSP",
    }
    await watched.expect({("plain", name): words for name, words in wanted.items()})
    reason = (await watched.tell())["plain", "ill"].reason
    assert reason is not None
    assert reason.slug == "member-check-failed"
    assert reason.since is not None
    # HAProxy counts whole seconds.
    assert began - dt.timedelta(seconds=2) < reason.since <= dt.datetime.now(dt.UTC)


async def test_http_asks_what_the_monitor_says(watched: Watched) -> None:
    http = {"type": "HTTP"}
    await watched.watch(
        {
            "range": (http | {"expected_codes": "200-202"}, ["accepted", "busy"]),
            "list": (http | {"expected_codes": "202, 503"}, ["busy", "ill"]),
            "whole": (
                http
                | {"http_method": "POST", "url_path": "/deep/a%20b?c=d;e", "http_version": 1.1}
                | {"domain_name": "www.example.org"},
                ["well"],
            ),
            "old": (http | {"http_method": "OPTIONS", "url_path": "/old", "http_version": 1.0}, ["halves"]),
        }
    )
    await watched.expect(
        {
            ("range", "accepted"): "",
            ("range", "busy"): "L7STS, code 503",
            ("list", "busy"): "",
            ("list", "ill"): "L7STS, code 500",
            ("whole", "well"): "",
            ("old", "halves"): "",
        }
    )
    asked = watched.servers["well"].asked
    assert asked.startswith("POST /deep/a%20b?c=d;e HTTP/1.1\r\n")
    assert "host: www.example.org\r\n" in asked.lower()
    assert watched.servers["halves"].asked.startswith("OPTIONS /old HTTP/1.0\r\n")


async def test_http_looks_into_the_body(watched: Watched) -> None:
    monitor = {"type": "HTTP", "expected_body": "all is well ☀"}
    await watched.watch(
        {
            "body": (monitor, ["well", "halves", "other words", "ill"]),
            "long": ({"type": "HTTP", "expected_body": "é" * 255}, ["well"]),
        }
    )
    wrong = "the answer does not hold the expected text (layer 7) [L7RSP: "
    await watched.expect(
        {
            ("body", "well"): "",
            ("body", "halves"): "",
            ("body", "other words"): wrong,
            ("body", "ill"): "L7STS, code 500",
            ("long", "well"): wrong,
        }
    )


async def test_tls(watched: Watched) -> None:
    await watched.watch(
        {
            "https": ({"type": "HTTPS"}, ["secure", "secure ill", "garbage", "silent", "refused"]),
            "body": ({"type": "HTTPS", "expected_body": "well"}, ["secure"]),
            "hello": ({"type": "TLS-HELLO"}, ["secure", "garbage", "silent", "refused"]),
        }
    )
    no_tls, no_answer = (
        "the TLS handshake failed (layer 6) [L6RSP",
        "no TLS handshake within the timeout (layer 6) [L6T",
    )
    await watched.expect(
        {
            ("https", "secure"): "",
            ("https", "secure ill"): "L7STS, code 500",
            ("https", "garbage"): no_tls,
            ("https", "silent"): no_answer,
            ("https", "refused"): REFUSED,
            ("body", "secure"): "",
            ("hello", "secure"): "",
            ("hello", "garbage"): no_tls,
            ("hello", "silent"): no_answer,
            ("hello", "refused"): REFUSED,
        }
    )


async def test_tcp_and_ping(watched: Watched) -> None:
    await watched.watch(
        {
            "tcp": ({"type": "TCP"}, ["silent", "refused", "nobody"]),
            "ping": ({"type": "PING"}, ["silent", "nobody"]),
        }
    )
    await watched.expect(
        {
            ("tcp", "silent"): "",
            ("tcp", "refused"): REFUSED,
            ("tcp", "nobody"): "no connection within the timeout (layer 4) [L4TOUT",
            ("ping", "silent"): "",
            ("ping", "nobody"): "fails: no answer within the timeout [PROCTOUT",
        }
    )
