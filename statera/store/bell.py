"""LISTEN on a connection of its own: wakes a worker when an edit commits. Only a shortcut; polling is the truth."""

import asyncio
import contextlib

import psycopg

from statera.store.engine import Store
from statera.store.trees import CHANNEL

RECONNECT_S = 1.0


class WorkBell:
    """Rings when work may be due. `run` holds the connection and comes back after the database was away."""

    def __init__(self, store: Store) -> None:
        url = store.engine.url.set(drivername="postgresql")
        self._conninfo = url.render_as_string(hide_password=False)
        self._rung = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            with contextlib.suppress(psycopg.Error, OSError):
                await self._listen()
            self._rung.set()
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True, connect_timeout=5) as link:
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
