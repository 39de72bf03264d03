"""Clients are where trusted proxies say; of a proxy that nobody trusts the log tells, since its clients are one for us.

All who come through it share the bounds of one address: of wrong passwords, of refused tokens (`logins.py`).
"""

import ipaddress
import time
from collections.abc import Callable, Sequence

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from statera.base.logging import get_logger

log = get_logger("api")

TELL_EVERY_S = 3600.0
MOST_TOLD = 8
"""Addresses in one line: every client may claim to be a proxy."""
READ, NOT_READ = b"x-forwarded-for", b"forwarded"
"""Headers that say where a client is: of the two, uvicorn knows the first."""


class Proxies:
    """What every request passes first, before `Door`. `now` returns seconds."""

    def __init__(self, inner: ASGIApp, trusted: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        """`trusted`: addresses and networks."""
        self._inner = ProxyHeadersMiddleware(inner, list(trusted))  # type: ignore[arg-type]
        self._now = now
        self._unknown: dict[str, None] = {}
        self._told_at: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and (client := scope.get("client")) is not None:
            host, port = client
            host = _plain_address(host)
            scope["client"] = (host, port)
            names = {name for name, _ in scope["headers"]}
            if not names.isdisjoint((READ, NOT_READ)) and not (READ in names and host in self._inner.trusted_hosts):
                self._note(host)
        await self._inner(scope, receive, send)  # type: ignore[arg-type]

    def _note(self, host: str) -> None:
        if len(self._unknown) < MOST_TOLD:
            self._unknown[host] = None
        if self._told_at is not None and self._now() - self._told_at < TELL_EVERY_S:
            return
        self._told_at = self._now()
        log.warning(
            "clients behind a proxy count as one",
            proxies=", ".join(self._unknown),
            why="Requests from there say in X-Forwarded-For or Forwarded where they come from. That is not read.",
            mend="If these are your proxies, name them in api.trusted_proxies, and let them set X-Forwarded-For. "
            "Else it is clients who say so, and nothing is to be done.",
        )
        self._unknown.clear()


def _plain_address(host: str) -> str:
    # A socket of IPv6 that takes IPv4, too, shows it as ::ffff:192.0.2.1, which no network of IPv4 holds.
    if host.startswith("::ffff:"):
        return str(ipaddress.IPv6Address(host).ipv4_mapped or host)
    return host
