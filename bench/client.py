"""HTTP clients of a few lines: what they cost must not show in what is measured."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from statera.base.errors import Lasting

READ_BYTES = 1 << 18


def ask_name(address: str, port: int = 80, *, timeout_s: float = 0.05, path: str = "/") -> str | None:
    """Send one request on a connection of its own; return the body, None when it failed or took longer."""
    try:
        with socket.create_connection((address, port), timeout=timeout_s) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            answer = bytearray()
            while chunk := connection.recv(READ_BYTES):
                answer += chunk
    except OSError:
        return None
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    return body.decode().strip() if head.startswith(b"HTTP/1.1 200") else None


class ApiConnection:
    """One kept connection to the API."""

    def __init__(self, host: str, port: int, *, timeout_s: float = 30.0) -> None:
        self._host = host
        self._socket = socket.create_connection((host, port), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """Return the whole body of a successful answer. Raises `Lasting` with the words of any other."""
        self._socket.sendall(encode_request(method, path, self._host, body))
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        status, length = read_head(bytes(received[:end]))
        while len(received) < end + 4 + length:
            received += self._receive()
        content = bytes(received[end + 4 :])
        if status >= 300:
            raise Lasting("bench-failed", f"{method} {path} answered {status}: {content.decode(errors='replace')}")
        return content

    def _receive(self) -> bytes:
        chunk = self._socket.recv(READ_BYTES)
        if not chunk:
            raise Lasting("bench-failed", "The API closed the connection.")
        return chunk


@contextmanager
def connect_api(host: str, port: int) -> Iterator[ApiConnection]:
    """Give a connection and close it."""
    connection = ApiConnection(host, port)
    try:
        yield connection
    finally:
        connection.close()


def encode_request(method: str, path: str, host: str, body: Any = None) -> bytes:
    """Return the bytes of one request."""
    content = b"" if body is None else msgspec.json.encode(body)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(content)}"]
    if content:
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + content


def read_head(head: bytes) -> tuple[int, int]:
    """Return status and length of the body. Answers of our own API always say it."""
    first, *lines = head.split(b"\r\n")
    length = next((line.split(b":")[1] for line in lines if line.lower().startswith(b"content-length:")), b"0")
    return int(first.split()[1]), int(length)
