"""Servers that get no new connections any more: they finish those that they have within a time, or lose them.

A removed server is deleted as soon as it has none; one of weight 0 stays. After a reload its connections are with an
old worker, which is told through the master.
"""

import contextlib
import time
from pathlib import Path

import msgspec

from statera.agent.runtime import RuntimeUnavailable, ask, list_old_workers
from statera.model.document import Document
from statera.render.change import Command


class _Drain(msgspec.Struct, frozen=True):
    until: float
    delete: str
    """The command that deletes it, "" for one that stays or that only an old worker has."""


class Drains:
    """Of one HAProxy, by server, as `backend/name`."""

    def __init__(self, live: Path, drain_s: float) -> None:
        self._live = live
        self._drain_s = drain_s
        self._drains: dict[str, _Drain] = {}

    def __len__(self) -> int:
        return len(self._drains)

    def note(self, command: Command, *, is_waiting: bool = False) -> None:
        """Take notice of a command that was carried out, or that waits until the server's connections are gone."""
        if command.drains and (is_waiting or not command.may_wait):
            self.begin(command.drains, command.text if is_waiting else "")
        elif command.fills or command.drains:
            self._drains.pop(command.fills or command.drains, None)

    def begin(self, place: str, delete: str = "") -> None:
        known = self._drains.get(place)
        until = known.until if known is not None else time.monotonic() + self._drain_s
        self._drains[place] = _Drain(until, delete)

    def note_reload(self, live: Document | None, wanted: Document) -> None:
        """Take notice that another worker serves: what it does not have, an old one still has connections to."""
        self._drains = {place: _Drain(drain.until, "") for place, drain in self._drains.items()}
        after = wanted.list_servers()
        for (backend, name), server in live.list_servers().items() if live is not None else ():
            now = after.get((backend, name))
            if now is None or (server.weight and not now.weight):
                self.begin(f"{backend}/{name}")

    def note_end(self) -> None:
        """Take notice that HAProxy ended, with all connections."""
        self._drains.clear()

    def is_leaving(self, command: Command) -> bool:
        """Say whether the server that a command deletes waits for that already."""
        drain = self._drains.get(command.drains)
        return drain is not None and drain.delete == command.text

    async def look(self) -> None:
        """Delete what has no connections any more, and close those whose time is over."""
        # One that does not answer is not asked for all of them: each question would take seconds.
        with contextlib.suppress(RuntimeUnavailable):
            for place, drain in list(self._drains.items()):
                is_over = time.monotonic() >= drain.until
                if is_over:
                    await self._close(place)
                if drain.delete:
                    answer = await ask(self._live / "stats", drain.delete)
                    is_over = answer.strip().startswith(("Server deleted", "No such"))
                # A reload may have begun anew meanwhile.
                if is_over and self._drains.get(place) is drain:
                    del self._drains[place]

    async def _close(self, place: str) -> None:
        await ask(self._live / "stats", f"shutdown sessions server {place}")
        for pid in list_old_workers(await ask(self._live / "master", "show proc;quit")):
            await ask(self._live / "master", f"@!{pid} shutdown sessions server {place};quit")
