"""Questions to HAProxy's sockets, some of which somebody else has put there."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from statera.agent.draining import Drains
from statera.agent.runtime import READ_BYTES, RuntimeUnavailable, ask

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(path: Path, serve: Serve) -> AsyncIterator[None]:
    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except OSError:
            pass  # Who asked has gone.
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve_and_close, path)
    try:
        yield
    finally:
        server.close()


async def say_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"hello\n")


async def test_what_stands_there_is_asked_and_what_a_link_leads_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(tmp_path / "stats")
    (tmp_path / "file").touch()
    async with listening(tmp_path / "stats", say_hello):
        assert await ask(tmp_path / "stats", "show info") == "hello"
        for name in ("other", "file", "missing"):
            with pytest.raises(RuntimeUnavailable):
                await ask(tmp_path / name, "show info")


async def test_an_answer_without_an_end_is_left(tmp_path: Path) -> None:
    async def say_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * READ_BYTES)
            await writer.drain()

    async with listening(tmp_path / "stats", say_all):
        with pytest.raises(RuntimeUnavailable, match="stop answering"):
            await ask(tmp_path / "stats", "show info", timeout_s=60.0)


async def test_one_that_does_not_answer_is_asked_once_a_turn(tmp_path: Path) -> None:
    asked = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(tmp_path / "stats"))
        listener.listen()

        def hang_up() -> None:
            connection, _ = listener.accept()
            asked.append(connection.fileno())
            connection.close()  # With the question unread: whoever asked is told that the connection broke.

        asyncio.get_running_loop().add_reader(listener, hang_up)
        drains = Drains(tmp_path, drain_s=60.0)
        for number in range(50):
            drains.begin(f"backend/{number}", delete=f"del server backend/{number}")
        await drains.look()
        asyncio.get_running_loop().remove_reader(listener)
    assert len(asked) == 1
