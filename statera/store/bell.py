"""LISTEN on a connection of its own: wakes a worker when an edit commits. Only a shortcut; polling is the truth."""

import asyncio
import contextlib

import psycopg

from statera.base.logging import get_logger
from statera.store.engine import Store
from statera.store.trees import CHANNEL

log = get_logger("store")

RECONNECT_S = 1.0


class WorkBell:
    """Rings when work may be due. `run` holds the connection and comes back after the database was away."""

    def __init__(self, store: Store) -> None:
        # The parts, not a URL: SQLAlchemy writes a space as `+`, which libpq reads as a plus.
        _, parts = store.engine.dialect.create_connect_args(store.engine.url)
        self._parts = {name: value for name, value in parts.items() if name != "context"}
        self._rung = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError) as error:
                # Its text may hold the connection string.
                log.warning("bell is silent, polling goes on", kind=type(error).__name__)
            self._rung.set()
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        async with await psycopg.AsyncConnection.connect(**self._parts, autocommit=True, connect_timeout=5) as link:
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
