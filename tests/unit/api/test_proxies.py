"""Where clients are, behind proxies that are trusted and others; of the others an operator is told, not too often."""

import asyncio
import socket
from typing import Any

import pytest
from structlog.testing import capture_logs

from statera.api.proxies import MOST_TOLD, TELL_EVERY_S, Proxies
from statera.base.serving import end_server, make_server

TELLS = "clients behind a proxy count as one"
FOR, FORWARDED = (b"x-forwarded-for", b"192.0.2.9"), (b"forwarded", b"for=192.0.2.9")


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("trusted", "told", "client"),
    [
        (["127.0.0.1"], "192.0.2.9", "192.0.2.9"),
        (["127.0.0.0/8", "192.0.2.0/24"], "203.0.113.1, 203.0.113.2, 192.0.2.9", "203.0.113.2"),
        (["192.0.2.1"], "192.0.2.9", "127.0.0.1"),
        ([], "192.0.2.9", "127.0.0.1"),
    ],
)
async def test_a_client_is_where_trusted_proxies_say(trusted: list[str], told: str, client: str) -> None:
    seen: list[str] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])
        await answer(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = make_server(Proxies(look, trusted), stop_within_s=5, proxy_headers=False)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        head = f"GET / HTTP/1.1\r\nHost: here\r\nX-Forwarded-For: {told}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 204")
        writer.close()
        await end_server(server)
        await serving
    assert seen == [client]


class Entry:
    """Notes where requests come from, as those behind see it, and what the log told of each."""

    def __init__(self, *trusted: str) -> None:
        self.now_s = 0.0
        self.proxies = Proxies(self._look, trusted, lambda: self.now_s)
        self._seen = ""

    async def _look(self, scope: Any, _receive: Any, _send: Any) -> None:
        self._seen = scope["client"][0]

    async def ask(self, peer: str, *headers: tuple[bytes, bytes]) -> tuple[str, list[str]]:
        """Return the client, and which proxies the log names."""
        scope: Any = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": list(headers)}
        nothing: Any = None
        with capture_logs() as logged:
            await self.proxies(scope, nothing, nothing)
        return self._seen, [str(line["proxies"]) for line in logged if line["event"] == TELLS]


async def test_a_proxy_that_is_not_trusted_is_told_of_once_an_hour() -> None:
    entry = Entry("10.0.0.0/24")
    assert await entry.ask("10.0.0.7", FOR) == ("192.0.2.9", [])
    assert await entry.ask("10.0.1.7") == ("10.0.1.7", [])
    assert await entry.ask("10.0.1.7", FOR) == ("10.0.1.7", ["10.0.1.7"])
    for _ in range(3):
        assert await entry.ask("10.0.1.8", FOR) == ("10.0.1.8", [])
    entry.now_s = TELL_EVERY_S - 1
    assert await entry.ask("10.0.1.9", FORWARDED) == ("10.0.1.9", [])
    entry.now_s = TELL_EVERY_S
    assert await entry.ask("10.0.1.7", FOR) == ("10.0.1.7", ["10.0.1.8, 10.0.1.9, 10.0.1.7"])


async def test_a_trusted_proxy_whose_header_is_not_read_is_told_of() -> None:
    entry = Entry("10.0.0.7")
    assert await entry.ask("10.0.0.7", FORWARDED) == ("10.0.0.7", ["10.0.0.7"])


async def test_clients_who_claim_to_be_proxies_make_no_long_lines() -> None:
    entry = Entry()
    for number in range(100):
        await entry.ask(f"10.0.0.{number}", FOR)
    entry.now_s = TELL_EVERY_S
    _, (told,) = await entry.ask("10.0.0.200", FOR)
    assert len(told.split(", ")) == MOST_TOLD


async def test_a_proxy_is_trusted_by_its_ipv4_address_where_a_socket_of_ipv6_takes_it() -> None:
    entry = Entry("10.0.0.0/24")
    assert await entry.ask("::ffff:10.0.0.7", FOR) == ("192.0.2.9", [])
    assert await entry.ask("::ffff:10.0.1.7", FOR) == ("10.0.1.7", ["10.0.1.7"])
    assert await entry.ask("2001:db8::1", FOR) == ("2001:db8::1", [])


async def test_whoever_comes_through_a_unix_socket_has_no_address() -> None:
    reached = []

    async def look(scope: Any, _receive: Any, _send: Any) -> None:
        reached.append(scope["client"])

    scope: Any = {"type": "http", "client": None, "scheme": "http", "headers": [FOR]}
    nothing: Any = None
    await Proxies(look, ["10.0.0.7"])(scope, nothing, nothing)
    assert reached == [None]
