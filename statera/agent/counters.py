"""What HAProxy counts, asked every few seconds over one connection: to connect costs both sides more than to answer.

A connection belongs to one worker, so what tells workers apart is asked once. A worker that is to finish answers on,
and does not end before its connections have: whoever replaces or ends HAProxy lets go of it, and one whose frontends
have stopped is not asked again (HAProxy 2.6 management guide, 9.3, `prompt`).
"""

import asyncio
import contextlib
import re
from pathlib import Path
from typing import cast

from statera.agent.runtime import ANSWER_WITHIN_S, MOST_ANSWER_BYTES, READ_BYTES, RuntimeUnavailable, ask, connect

IDENTITY = "show info"
TABLE = "show stat -1 5 -1"
"""Of all proxies the frontends and the servers: 1 and 4."""
PROMPT = b"\n> "
"""Behind each answer, when the connection stays."""

_room = memoryview(bytearray(READ_BYTES))
"""What is read is copied at once, so that all connections share it."""


class Counters:
    """Of one HAProxy."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line: _Line | None = None
        self._is_asking = False

    async def read(self) -> str:
        """Return what tells its process apart, in lines of `show info`, then `show stat`.

        Raises `RuntimeUnavailable`.
        """
        if self._is_asking:
            # Somebody else waits for an answer on the connection.
            return await ask(self._path, f"{IDENTITY};{TABLE}")
        self._is_asking = True
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._read()
        except (OSError, TimeoutError) as error:
            raise RuntimeUnavailable(f"HAProxy does not answer on its {self._path.name} socket.") from error
        finally:
            self._is_asking = False

    def let_go(self) -> None:
        """End the connection: another process is to be asked from now on, or none."""
        if self._line is not None:
            self._line.end()
            self._line = None

    async def _read(self) -> str:
        if self._line is not None:
            # Its process may have ended since, or another one may serve now.
            with contextlib.suppress(ConnectionError):
                told = await self._ask(self._line)
                if self._line is not None:
                    return told
        self._line = await self._open()
        return await self._ask(self._line)

    async def _open(self) -> "_Line":
        loop = asyncio.get_running_loop()
        _, line = await loop.create_unix_connection(_Line, sock=connect(self._path))
        return line

    async def _ask(self, line: "_Line") -> str:
        try:
            if not line.identity:
                await line.ask("prompt")
                line.identity = _keep_identity(await line.ask(IDENTITY))
            table = await line.ask(TABLE)
        except BaseException:
            self.let_go()
            raise
        if _has_stopped(table):
            self.let_go()
        return f"{line.identity}{table}"


def _keep_identity(told: str) -> str:
    return "".join(f"{line}\n" for line in re.findall(r"^(?:Start_time_sec|Pid): .*$", told, re.MULTILINE))


def _has_stopped(table: str) -> bool:
    return ",STOP," in table or ",FRONTEND," not in table


class _Line(asyncio.BufferedProtocol):
    """One connection, and what tells the process behind it apart, "" until it has been asked."""

    def __init__(self) -> None:
        self.identity = ""
        self._transport: asyncio.Transport | None = None
        self._heard = bytearray()
        self._answer: asyncio.Future[str] | None = None

    async def ask(self, command: str) -> str:
        """Return the answer. One question at a time. Raises `ConnectionError`."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(f"{command}\n".encode())
        try:
            return await self._answer
        finally:
            self._answer = None

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _room

    def buffer_updated(self, nbytes: int) -> None:
        self._heard += _room[:nbytes]
        if self._answer is None or self._answer.done() or len(self._heard) > MOST_ANSWER_BYTES:
            # Nobody has asked for this: what comes next would be taken for the answer to another question.
            self.end()
        elif self._heard.endswith(PROMPT):
            self._answer.set_result(self._heard[: -len(PROMPT)].decode("utf-8", errors="replace").strip("\n"))
            self._heard.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())
