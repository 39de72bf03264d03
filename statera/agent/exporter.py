"""Answers the scrapes of PROMETHEUS listeners: one unix socket in each amphora's folder that has such a listener.

HAProxy's frontend hands a scrape to this socket. The agent asks HAProxy's own exporter, which listens on another unix
socket, and gives the names of the v2 API back. Without an agent nobody takes the connection, and HAProxy answers 503.
"""

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path

from statera.agent.exposition import translate_exposition
from statera.agent.runtime import RuntimeUnavailable, fetch_page
from statera.agent.sandbox import Sandbox
from statera.base.listening import short_path
from statera.base.logging import get_logger
from statera.base.processes import list_family
from statera.render.paths import SANDBOX_PATHS

log = get_logger("agent")

REQUEST_WITHIN_S = 5.0
"""So long a request may take to come, and an answer to be taken."""
MOST_REQUEST_BYTES = 65_536
MOST_AT_ONCE = 16
"""Of one amphora: its HAProxy may open thousands, and the descriptors of the agent are there for all."""
FRESH_S = 1.0
"""Scrapes within this time get one answer: a tenant cannot keep the agent busy."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class Exporter:
    """The sockets of all amphorae of a host."""

    def __init__(self) -> None:
        self._open: dict[str, _Listening] = {}
        self._tending = asyncio.Lock()
        """An edit and the watch may look after the same one: each would take away what the other begins."""

    def is_due(self, sandbox: Sandbox) -> bool:
        """Say whether `tend` has anything to do."""
        listening = self._open.get(sandbox.id)
        is_reachable = listening is not None and listening.is_reachable()
        return _exports(sandbox) != is_reachable

    async def tend(self, sandbox: Sandbox) -> None:
        """Listen for a sandbox whose live configuration has a PROMETHEUS listener, for no other. Again is fine."""
        async with self._tending:
            listening = self._open.get(sandbox.id)
            if not sandbox.folders.run.is_dir() or not _exports(sandbox):
                await self.forget(sandbox.id)
            elif listening is None or not listening.is_reachable():
                await self.forget(sandbox.id)
                listening = _Listening(sandbox)
                await listening.start()
                self._open[sandbox.id] = listening

    async def forget(self, amphora_id: str) -> None:
        """Listen no more; scrapes are answered 503 from now on."""
        listening = self._open.pop(amphora_id, None)
        if listening is not None:
            listening.stop()

    async def close(self) -> None:
        for amphora_id in list(self._open):
            await self.forget(amphora_id)


def _exports(sandbox: Sandbox) -> bool:
    document = sandbox.record.document
    if document is None or sandbox.is_removed:
        return False
    return f"unix@{SANDBOX_PATHS.metrics_socket}" in document.fixed_text()


class _Listening:
    """The socket of one amphora."""

    def __init__(self, sandbox: Sandbox, within_s: float = REQUEST_WITHIN_S) -> None:
        self._sandbox = sandbox
        self._within_s = within_s
        self._served = 0
        self._path = sandbox.folders.run / Path(SANDBOX_PATHS.metrics_socket).name
        self._inode = 0
        self._server: asyncio.Server | None = None
        self._answering = asyncio.Lock()
        self._answer, self._answered_at = b"", float("-inf")

    def is_reachable(self) -> bool:
        """Say whether the file is still ours, and its user's: a run folder that was deleted comes back without it."""
        with contextlib.suppress(OSError):
            found = self._path.stat()
            return found.st_ino == self._inode and found.st_uid == self._sandbox.engine.launch.user.user_id
        return False

    async def start(self) -> None:
        user = self._sandbox.engine.launch.user
        beside = self._path.with_name(f"{self._path.name}.part")
        beside.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with short_path(beside) as short:
            listening.bind(short)
        os.chown(beside, user.user_id, user.group_id)
        beside.chmod(0o600)
        self._inode = beside.stat().st_ino
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MOST_REQUEST_BYTES)
        beside.replace(self._path)

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served += 1
        try:
            if self._served <= MOST_AT_ONCE:
                await self._exchange(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Whoever asked has gone, asks nothing or does not listen.
            pass
        except Exception:
            # The edge of a request.
            log.exception("metrics not told", **self._sandbox.about)
        finally:
            self._served -= 1
            # To close would wait until all is taken.
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._within_s):
            await reader.readuntil(b"\r\n\r\n")
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(await self._fresh_answer())
        async with asyncio.timeout(self._within_s):
            await writer.drain()

    async def _fresh_answer(self) -> bytes:
        async with self._answering:
            if time.monotonic() - self._answered_at > FRESH_S:
                self._answer = await self._ask()
                self._answered_at = time.monotonic()
            return self._answer

    async def _ask(self) -> bytes:
        folders = self._sandbox.folders
        try:
            text = await fetch_page(folders.run / Path(SANDBOX_PATHS.exporter_socket).relative_to(SANDBOX_PATHS.folder))
        except RuntimeUnavailable as error:
            return _pack("503 Service Unavailable", f"{error}\n".encode())
        share = await asyncio.to_thread(self._memory_percent)
        # A large load balancer has tens of thousands of lines: heartbeats must not wait for them.
        body = await asyncio.to_thread(translate_exposition, text, memory_percent=share)
        return _pack("200 OK", body.encode())

    def _memory_percent(self) -> float:
        pid = self._sandbox.engine.find_pid()
        limit = self._sandbox.record.sandbox.limits.memory_mib * 1024 * 1024
        # The master and its workers.
        return 100.0 * sum(map(_resident_bytes, list_family(pid))) / limit if pid else 0.0


def _pack(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-cache\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE
    return 0
