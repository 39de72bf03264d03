"""HTTP clients of a few lines: what they cost must not show in what is measured."""

import contextlib
import select
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from statera.base.errors import Lasting

READ_BYTES = 1 << 18
ANSWERS_WITHIN_S = 30.0


class Answer(msgspec.Struct, frozen=True):
    """What came of one request: the body of a good answer, or what was wrong."""

    body: str = ""
    fault: str = ""


def ask(address: str, port: int = 80, *, timeout_s: float, path: str = "/") -> Answer:
    """Send one request on a connection of its own and read its whole answer; only 200 with a body is a good one."""
    try:
        with socket.create_connection((address, port), timeout=timeout_s) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            status, body = read_answer(connection)
    except (OSError, EOFError) as error:
        return Answer(fault=f"{type(error).__name__}: {error}")
    return (
        Answer(body=body.decode(errors="replace").strip())
        if status == 200 and body
        else Answer(fault=f"status {status}")
    )


def ask_name(address: str, port: int = 80, *, timeout_s: float = 0.05, path: str = "/") -> str | None:
    """Ask once; return the body, None when it failed or took longer."""
    answer = ask(address, port, timeout_s=timeout_s, path=path)
    return None if answer.fault else answer.body


def wait_for_name(address: str, port: int = 80, *, name: str = "", timeout_s: float = 1.0) -> None:
    """Ask every 2 ms until there is an answer, or that of this name. Raises `TimeoutError` after half a minute."""
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while (found := ask_name(address, port, timeout_s=timeout_s)) is None or name not in ("", found):
        if time.monotonic() > deadline:
            whom = name or "anybody"
            raise TimeoutError(f"no answer of {whom} at {address}, port {port}, within {ANSWERS_WITHIN_S:.0f} s")
        time.sleep(0.002)


class ApiConnection:
    """One kept connection to the API, opened again when the API has closed it for being idle."""

    def __init__(self, host: str, port: int, *, timeout_s: float = 30.0) -> None:
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._socket = self._connect()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self._host, self._port), timeout=self._timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _is_closed(self) -> bool:
        """Say whether something came while nothing was asked for, which is the end."""
        incoming = select.poll()
        incoming.register(self._socket, select.POLLIN)
        return bool(incoming.poll(0))

    def close(self) -> None:
        self._socket.close()

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """Return the whole body of a successful answer. Raises `Lasting` with the words of any other."""
        if self._is_closed():
            self.close()
            self._socket = self._connect()
        self._socket.sendall(encode_request(method, path, self._host, body))
        try:
            status, content = read_answer(self._socket)
        except EOFError:
            raise Lasting("bench-failed", "The API closed the connection.") from None
        if status >= 300:
            raise Lasting("bench-failed", f"{method} {path} answered {status}: {content.decode(errors='replace')}")
        return content


@contextmanager
def connect_api(host: str, port: int) -> Iterator[ApiConnection]:
    """Give a connection and close it."""
    connection = ApiConnection(host, port)
    try:
        yield connection
    finally:
        connection.close()


def ask_at_once(host: str, port: int, requests: Sequence[bytes], *, within_s: float = 60.0) -> list[tuple[int, float]]:
    """Send all requests at the same moment, each on a connection of its own; return status and milliseconds of each.

    Raises `EOFError` when a connection is closed before its answer, `TimeoutError`.
    """
    received: dict[socket.socket, bytearray] = {}
    begun: dict[socket.socket, float] = {}
    answers: list[tuple[int, float]] = []
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in requests:
            connection = stack.enter_context(socket.create_connection((host, port), timeout=within_s))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection, selectors.EVENT_READ)
            received[connection] = bytearray()
        for connection, request in zip(received, requests, strict=True):
            begun[connection] = time.monotonic()
            connection.sendall(request)
        while len(answers) < len(requests):
            ready = selector.select(within_s)
            if not ready:
                raise TimeoutError(f"{len(requests) - len(answers)} requests had no answer within {within_s:.0f} s")
            for key, _ in ready:
                connection = key.fileobj  # type: ignore[assignment]
                received[connection] += _receive(connection)
                if (status := read_whole(received[connection])) is not None:
                    answers.append((status, (time.monotonic() - begun[connection]) * 1000))
                    selector.unregister(connection)
    return answers


def read_whole(answer: bytearray) -> int | None:
    """Return the status of an answer that has arrived whole, None while some of it is missing."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return None
    status, length = read_head(bytes(answer[:end]))
    return status if len(answer) >= end + 4 + length else None


def encode_request(method: str, path: str, host: str, body: Any = None) -> bytes:
    """Return the bytes of one request."""
    content = b"" if body is None else msgspec.json.encode(body)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(content)}"]
    if content:
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + content


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return status and body. Raises `EOFError` when the other side closes before the end."""
    received = bytearray()
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _receive(connection)
    status, length = read_head(bytes(received[:end]))
    while len(received) < end + 4 + length:
        received += _receive(connection)
    return status, bytes(received[end + 4 :])


def _receive(connection: socket.socket) -> bytes:
    if chunk := connection.recv(READ_BYTES):
        return chunk
    raise EOFError("closed before the end of the answer")


def read_head(head: bytes) -> tuple[int, int]:
    """Return status and length of the body, which our API, HAProxy and the web servers always say."""
    first, *lines = head.split(b"\r\n")
    length = next((line.split(b":")[1] for line in lines if line.lower().startswith(b"content-length:")), b"0")
    return int(first.split()[1]), int(length)
