"""HAProxy's sockets: one question, one answer, within a time (HAProxy 2.6 management guide, section 9.3)."""

import asyncio
import re
import socket
from pathlib import Path

import msgspec

from statera.base.listening import pinned_socket

ANSWER_WITHIN_S = 5.0
READ_BYTES = 65_536
MOST_ANSWER_BYTES = 32 * 1024 * 1024
"""Far more than HAProxy tells of the largest load balancer; one that was taken over may never end."""


class RuntimeUnavailable(Exception):
    """The socket does not answer: HAProxy is starting, stopping or gone."""


async def ask(path: Path, command: str, *, timeout_s: float = ANSWER_WITHIN_S) -> str:
    """Send one command line and return the whole answer. Raises `RuntimeUnavailable`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            with connect(path) as connection:
                await loop.sock_sendall(connection, f"{command}\n".encode())
                answer = bytearray()
                while chunk := await loop.sock_recv(connection, READ_BYTES):
                    answer += chunk
                    if len(answer) > MOST_ANSWER_BYTES:
                        raise RuntimeUnavailable(f"HAProxy does not stop answering on its {path.name} socket.")
                return answer.decode("utf-8", errors="replace").strip("\n")
    except (OSError, TimeoutError) as error:
        raise RuntimeUnavailable(f"HAProxy does not answer on its {path.name} socket.") from error


def connect(path: Path) -> socket.socket:
    """Return a connection to a unix socket, which does not block. Raises `OSError`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with pinned_socket(path) as pinned:
            connection.connect(pinned)
    except OSError:
        connection.close()
        raise
    return connection


async def fetch_page(path: Path, *, timeout_s: float = ANSWER_WITHIN_S) -> str:
    """Return the body of `/metrics` from a socket that speaks HTTP. Raises `RuntimeUnavailable`."""
    answer = await ask(path, "GET /metrics HTTP/1.0\r\n\r", timeout_s=timeout_s)
    head, _, body = answer.partition("\r\n\r\n")
    if not re.match(r"HTTP/1\.[01] 200 ", head):
        raise RuntimeUnavailable(f"HAProxy has no metrics on its {path.name} socket.")
    return body


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    """What the master says of itself: `failed` counts reloads in a row that did not succeed."""

    master: int
    failed: int
    workers: frozenset[int]
    """Workers of the newest load, without those of earlier ones."""


def list_old_workers(text: str) -> list[int]:
    """Read the workers of earlier loads, which end with their last connection, from the answer to `show proc`."""
    return [int(pid) for pid in re.findall(r"^([0-9]{1,7})\s+worker\s+[1-9]\d*\s", text, re.MULTILINE)]


def parse_processes(text: str) -> Processes | None:
    """Read the answer to `show proc`; None when it is not one."""
    master = re.search(r"^([0-9]{1,7})\s+master\s+\d+ \[failed: ([0-9]{1,9})\]", text, re.MULTILINE)
    if master is None:
        return None
    workers = re.findall(r"^([0-9]{1,7})\s+worker\s+0\s", text, re.MULTILINE)
    return Processes(master=int(master[1]), failed=int(master[2]), workers=frozenset(map(int, workers)))
