"""Answers of agents that were taken over: too long, too slow."""

import asyncio
import ssl
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from statera.drivers import agent_connections
from statera.drivers.agent_connections import AgentConnections

HEAD = b"HTTP/1.1 200 OK\r\nx-statera-protocol: 4\r\n"


async def _ask(answer: bytes, *, repeats: bool = False, timeout_s: float = 30.0, pause_s: float = 0.0) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            while repeats:
                writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(pause_s)
        except OSError:
            pass  # Who asked has gone.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    context = ssl.create_default_context()
    connections = AgentConnections(cast(Any, SimpleNamespace(current=lambda: context)), timeout_s)
    try:
        return await connections.ask("GET", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/host")
    finally:
        await connections.close()
        server.close()


async def test_an_answer_is_told_whole_and_as_it_came() -> None:
    answer = await _ask(HEAD + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}")
    assert (answer.status_code, answer.content, answer.headers["x-statera-protocol"]) == (200, b"{}", "4")


async def test_an_answer_without_an_end_is_left() -> None:
    with pytest.raises(httpx.TransportError, match="more than"):
        await _ask(HEAD + b"transfer-encoding: chunked\r\n\r\n", repeats=True)


async def test_an_answer_that_trickles_in_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_connections, "CONNECT_WITHIN_S", 0.1)
    with pytest.raises(TimeoutError):
        await _ask(HEAD + b"transfer-encoding: chunked\r\n\r\n", repeats=True, timeout_s=0.3, pause_s=0.05)
