"""Connections of a controller to agents, with the certificate that it has now.

After a renewal new requests go over new connections; requests that run finish over the old ones.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx

from statera.base.credentials import LiveContext

CONNECT_WITHIN_S = 2.0
CONNECTIONS = 32
MOST_ANSWER_BYTES = 32 * 1024 * 1024
"""Far more than the largest host has to say; one that was taken over may never end."""
WAITS = 2
"""How often an honest request waits for as long as it may: for a connection, and for the answer."""


class _Line:
    """A client of one certificate, and how many requests use it."""

    def __init__(self, context: ssl.SSLContext, timeout_s: float) -> None:
        self.context = context
        self.users = 0
        self.client = httpx.AsyncClient(
            verify=context,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_WITHIN_S),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            trust_env=False,
        )


class AgentConnections:
    """`timeout_s` bounds each answer."""

    def __init__(self, trust: LiveContext, timeout_s: float) -> None:
        self._trust = trust
        self._timeout_s = timeout_s
        self._line = _Line(trust.current(), timeout_s)

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[httpx.AsyncClient]:
        """Give a client for one request."""
        await self._renew()
        line = self._line
        line.users += 1
        try:
            yield line.client
        finally:
            line.users -= 1
            if line is not self._line and not line.users:
                await line.client.aclose()

    async def ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        """Send one request and return its whole answer. Raises `httpx.TransportError`, `TimeoutError`.

        An answer that trickles in, or does not end, holds nobody up for longer than a silent agent does.
        """
        content = bytearray()
        async with (
            asyncio.timeout(CONNECT_WITHIN_S + WAITS * self._timeout_s),
            self.take() as client,
            client.stream(method, url, **more) as answer,
        ):
            async for part in answer.aiter_raw():
                content += part
                if len(content) > MOST_ANSWER_BYTES:
                    raise httpx.RemoteProtocolError(f"its answer has more than {MOST_ANSWER_BYTES} bytes")
        headers = {name: text for name, text in answer.headers.items() if name != "content-encoding"}
        return httpx.Response(answer.status_code, headers=headers, content=bytes(content))

    async def _renew(self) -> None:
        former, context = self._line, self._trust.current()
        if context is former.context:
            return
        self._line = _Line(context, self._timeout_s)
        if not former.users:
            await former.client.aclose()

    async def close(self) -> None:
        await self._line.client.aclose()
