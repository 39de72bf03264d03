"""What passes a running HAProxy: PROXY headers before a connection, WebSockets after a request, TLS as it is."""

import base64
import contextlib
import hashlib
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from statera.cli.ports import choose_port
from statera.plan.spec import decide_amphora_spec
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS
from tests.fixtures.certificates import make_authority
from tests.golden.cases import ENGINE, LIMITS, make_tree
from tests.golden.haproxy import run_haproxy
from tests.golden.test_wire import WAIT_S

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""Of the PROXY protocol, version 2."""
KEY = base64.b64encode(b"sixteen bytes...").decode()
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of WebSockets (RFC 6455, 1.3): with it a server shows that it speaks them."""
Handler = Callable[[socket.socket], None]


@contextlib.contextmanager
def serve(handle: Handler) -> Iterator[int]:
    """Give each connection on loopback to the handler; give the port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=attend, args=(line,), daemon=True).start()

    def attend(line: socket.socket) -> None:
        # Checks end in the middle of things.
        with line, contextlib.suppress(OSError):
            line.settimeout(WAIT_S)
            handle(line)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        # A thread in `accept` does not notice that its socket is closed.
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


@contextlib.contextmanager
def balance(listener: str, pool: str, port: int, **more: Any) -> Iterator[int]:
    """Run a load balancer before the port; give its own."""
    own = choose_port(0, socket.SOCK_STREAM)
    vip = {"address": "127.0.0.1", "subnet_id": "subnet", "network_id": "network", "port_id": "port"}
    members = [{"id": "member", "address": "127.0.0.1", "protocol_port": port}]
    tree = make_tree(
        {
            "load_balancer": {"vip": vip},
            "listeners": [{"id": "one", "protocol": listener, "protocol_port": own, "default_pool_id": "pool"}],
            "pools": [{"id": "pool", "protocol": pool, "lb_algorithm": "ROUND_ROBIN", "members": members} | more],
        }
    )
    with run_haproxy(render_haproxy(decide_amphora_spec(tree, "amphora", LIMITS), ENGINE, SANDBOX_PATHS)):
        yield own


def read_exactly(line: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        more = line.recv(count - len(read))
        if not more:
            raise OSError("the other side has gone")
        read += more
    return read


def read_until(line: socket.socket, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        read += read_exactly(line, 1)
    return read


def read_proxy_header(line: socket.socket, version: int) -> tuple[str, int, str, int] | None:
    """Return the client's address and port, and those that it connected to; None for HAProxy's own connections."""
    if version == 1:
        words = read_until(line, b"\r\n").decode().split()
        assert words[0] == "PROXY"
        return (words[2], int(words[4]), words[3], int(words[5])) if words[1] == "TCP4" else None
    assert read_exactly(line, len(SIGNATURE)) == SIGNATURE
    command, family, length = struct.unpack("!BBH", read_exactly(line, 4))
    rest = read_exactly(line, length)
    if command == 0x20:
        return None
    assert (command, family) == (0x21, 0x11)
    source, target, source_port, target_port = struct.unpack("!4s4sHH", rest[:12])
    return str(ipaddress.IPv4Address(source)), source_port, str(ipaddress.IPv4Address(target)), target_port


@pytest.mark.parametrize("listener", ["HTTP", "TCP"])
@pytest.mark.parametrize(("pool", "version"), [("PROXY", 1), ("PROXYV2", 2)])
def test_members_are_told_the_client_by_proxy_protocol(listener: str, pool: str, version: int):
    told: SimpleQueue[tuple[str, int, str, int] | None] = SimpleQueue()

    def handle(line: socket.socket) -> None:
        told.put(read_proxy_header(line, version))
        read_until(line, b"\r\n\r\n")
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    monitor = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1}
    with serve(handle) as port, balance(listener, pool, port, health_monitor=monitor) as own:
        # A check has such a header, too, else the member would not understand it.
        first = told.get(timeout=WAIT_S)
        assert first is None or version == 1
        with socket.create_connection(("127.0.0.1", own), timeout=WAIT_S) as line:
            here = line.getsockname()
            line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_until(line, b"\r\n\r\nok").startswith(b"HTTP/1.1 200")
        wanted = ("127.0.0.1", here[1], "127.0.0.1", own)
        # Between them come those of checks.
        assert wanted in (told.get(timeout=WAIT_S), told.get(timeout=WAIT_S), told.get(timeout=WAIT_S))


@pytest.mark.parametrize("pool", ["HTTP", "PROXY"])
def test_a_websocket_passes(pool: str):
    def handle(line: socket.socket) -> None:
        if pool == "PROXY":
            read_proxy_header(line, 1)
        asked = read_until(line, b"\r\n\r\n").lower()
        assert b"upgrade: websocket" in asked
        accepted = base64.b64encode(hashlib.sha1(f"{KEY}{GUID}".encode(), usedforsecurity=False).digest())
        line.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % accepted
        )
        while frame := line.recv(4096):
            line.sendall(frame)

    with (
        serve(handle) as port,
        balance("HTTP", pool, port) as own,
        socket.create_connection(("127.0.0.1", own), timeout=WAIT_S) as line,
    ):
        line.sendall(
            b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n" % KEY.encode()
        )
        assert read_until(line, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        for frame in (b"\x81\x85abcdHELLO", b"\x82\xfe\x01\x00abcd" + bytes(range(256))):
            line.sendall(frame)
            assert read_exactly(line, len(frame)) == frame


def test_tls_passes_as_it_is(tmp_path: Path):
    root = make_authority()
    issued = root.issue("member.test")
    (tmp_path / "member.pem").write_bytes(issued.bundle_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "member.pem")
    context.set_alpn_protocols(["own"])

    def handle(line: socket.socket) -> None:
        with context.wrap_socket(line, server_side=True) as secure:
            secure.sendall(b"secret")

    client = ssl.create_default_context(cadata=root.pem.decode())
    client.set_alpn_protocols(["own"])
    with (
        serve(handle) as port,
        balance("HTTPS", "HTTPS", port) as own,
        socket.create_connection(("127.0.0.1", own), timeout=WAIT_S) as line,
        client.wrap_socket(line, server_hostname="member.test") as secure,
    ):
        # The member's own certificate and its own protocol: nobody in between has opened it.
        assert secure.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(issued.pem.decode())
        assert secure.selected_alpn_protocol() == "own"
        assert read_exactly(secure, 6) == b"secret"
