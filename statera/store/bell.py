"""LISTEN on a connection of its own: wakes a worker when an edit commits. Only a shortcut; polling is the truth."""

import asyncio
import contextlib
from typing import Any

import psycopg

from statera.base.logging import get_logger
from statera.store.engine import Store
from statera.store.link import LINK
from statera.store.trees import CHANNEL

log = get_logger("store")

RECONNECT_S = 1.0


class _BehindPooler(Exception):
    """Somebody else holds the session."""


class WorkBell:
    """Rings when work may be due. `run` holds the connection and comes back after the database was away.

    A pooler of transactions swallows LISTEN: then it says so once and leaves everything to polling.
    """

    def __init__(self, store: Store) -> None:
        self._parts: dict[str, Any] | None = None
        if store.listen_url is not None:
            # The parts, not a URL: SQLAlchemy writes a space as `+`, which libpq reads as a plus.
            _, parts = store.engine.dialect.create_connect_args(store.listen_url)
            self._parts = {name: value for name, value in parts.items() if name != "context"}
        self._rung = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled, or until it is clear that nothing will ever be heard."""
        if self._parts is None:
            log.info("no bell behind a pooler, polling alone", mend="set database.direct_url")
            return
        while True:
            try:
                await self._listen()
            except _BehindPooler:
                log.warning("no bell behind a pooler, polling alone", mend="set database.pooled, database.direct_url")
                return
            except (psycopg.Error, OSError) as error:
                # Its text may hold the connection string.
                log.warning("bell is silent, polling goes on", kind=type(error).__name__)
            self._rung.set()
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        parts = {**(self._parts or {}), **LINK, "autocommit": True, "prepare_threshold": None}
        async with await psycopg.AsyncConnection.connect(**parts) as link:
            row = await (await link.execute("SELECT pg_backend_pid()")).fetchone()
            if row is not None and row[0] != link.info.backend_pid:
                # A pooler gives its clients numbers of its own.
                raise _BehindPooler
            await link.execute(f"LISTEN {CHANNEL}")
            async for _ in link.notifies():
                self._rung.set()

    def ring(self) -> None:
        """Have the next wait return at once."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when the bell has rung since the last call, or after `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), timeout_s)
        self._rung.clear()
