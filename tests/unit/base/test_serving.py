"""A server that ends answers what was sent to it before."""

import asyncio
import socket
from typing import Any

from statera.base.serving import end_server, make_server


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def takes_connections(address: tuple[str, int]) -> bool:
    try:
        _, writer = await asyncio.open_connection(*address)
    except OSError:
        return False
    writer.close()
    return True


async def test_when_nobody_is_let_in_any_more_what_is_under_way_is_still_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server, address = make_server(answer, stop_within_s=5), listening.getsockname()
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*address)
        # It is accepted, and has brought nothing yet.
        while not server.server_state.connections:
            await asyncio.sleep(0.01)
        ending = asyncio.create_task(end_server(server))
        while await takes_connections(address):
            await asyncio.sleep(0)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 204")
        writer.close()
        await asyncio.gather(ending, serving)


async def test_a_server_that_has_not_begun_ends_all_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = make_server(answer, stop_within_s=5)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await end_server(server)
        await asyncio.wait_for(serving, 5)
