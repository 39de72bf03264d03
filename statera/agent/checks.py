"""Looks after the members that no engine checks: again and again, from inside their amphora's network."""

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Callable

import msgspec

from statera.agent.probes import Outcome, probe
from statera.agent.refusals import Refusals
from statera.model.datagrams import DatagramCheck, DatagramDocument, DatagramPool, DatagramServer
from statera.model.enums import MonitorType
from statera.model.heartbeat import MemberObserved, MemberState

AT_ONCE = 64
"""Looks at a time, of one amphora."""
REFUSED_S = 1.5
"""A refusal counts for so long: within it a host that refuses has sent another one."""

Place = tuple[str, str]
"""(pool id, member id)."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one member. It works until the first look says otherwise, as with HAProxy."""

    works: bool = True
    against: int = 0
    """Looks in a row that say the contrary."""
    seen: Outcome | None = None
    since: float = 0.0

    def note(self, outcome: Outcome, check: DatagramCheck, now: float) -> "Health":
        """Return what is known after one more look."""
        if outcome.works == self.works:
            return msgspec.structs.replace(self, against=0, seen=outcome)
        wanted = check.rise if outcome.works else check.fall
        against = self.against + 1
        # The first look of all tells at once.
        if self.seen is None or against >= wanted:
            return Health(works=outcome.works, seen=outcome, since=now)
        return msgspec.structs.replace(self, against=against)


class _Watch(msgspec.Struct, eq=False):
    server: DatagramServer
    check: DatagramCheck
    task: asyncio.Task[None]


class MemberChecks:
    """All checks of one amphora. `changed` is called when a member stops or starts working."""

    def __init__(self, amphora_id: str, changed: Callable[[], None]) -> None:
        self._amphora_id = amphora_id
        self._changed = changed
        self._watches: dict[Place, _Watch] = {}
        self._health: dict[Place, Health] = {}
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._refusals = Refusals(amphora_id)

    @property
    def failing(self) -> frozenset[Place]:
        """Members that get nothing."""
        return frozenset(place for place, health in self._health.items() if not health.works)

    def remember(self, failing: frozenset[Place]) -> None:
        """Take up what an earlier life of the agent had seen."""
        now = time.monotonic()
        self._health |= {place: Health(works=False, since=now) for place in failing if place not in self._health}

    def follow(self, document: DatagramDocument | None) -> None:
        """Look after this document's members from now on, and no others. What is known of those that stay, stays."""
        wanted = _list_wanted(document)
        silent = [server for server, check in wanted.values() if check.type is MonitorType.UDP_CONNECT]
        with contextlib.suppress(OSError):
            self._refusals.follow([(server.check_address, server.check_port) for server in silent])
        for place, watch in list(self._watches.items()):
            server, check = wanted.get(place, (None, None))
            if server is None or not _is_same(server, watch.server):
                self._health.pop(place, None)
            if (server, check) != (watch.server, watch.check) or watch.task.done():
                watch.task.cancel()
                del self._watches[place]
        self._health = {place: health for place, health in self._health.items() if place in wanted}
        for number, (place, (server, check)) in enumerate(wanted.items()):
            if place not in self._watches:
                # Not all at the same moment.
                wait_s = number / len(wanted) * min(1.0, check.interval_ms / 1000)
                task = asyncio.get_running_loop().create_task(self._look_often(place, server, check, wait_s))
                self._watches[place] = _Watch(server, check, task)

    def close(self) -> None:
        """Look no more; what is known stays."""
        for watch in self._watches.values():
            watch.task.cancel()
        self._watches.clear()
        self._refusals.close()

    async def _look_often(self, place: Place, server: DatagramServer, check: DatagramCheck, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        while True:
            async with self._limit:
                began = time.monotonic()
                outcome = await probe(self._amphora_id, check, server)
            if check.type is MonitorType.UDP_CONNECT and outcome.works:
                outcome = await self._doubt(outcome, server, began - max(REFUSED_S, check.interval_ms / 2000))
            known = self._health.get(place, Health(since=began))
            self._health[place] = fresh = known.note(outcome, check, time.monotonic())
            if fresh.works != known.works:
                self._changed()
            await asyncio.sleep(max(0.0, began + check.interval_ms / 1000 - time.monotonic()))

    async def _doubt(self, outcome: Outcome, server: DatagramServer, since: float) -> Outcome:
        # It kept silent to the check, but not to others.
        if await self._refusals.has_heard((server.check_address, server.check_port), since):
            return Outcome(False, "L4CON", text=os.strerror(errno.ECONNREFUSED))
        return outcome

    def observe(self, document: DatagramDocument) -> tuple[MemberObserved, ...]:
        """Say how the members of a document are."""
        now = time.monotonic()
        return tuple(self._observe(pool, server, now) for pool in document.pools for server in pool.servers)

    def _observe(self, pool: DatagramPool, server: DatagramServer, now: float) -> MemberObserved:
        health = self._health.get((pool.id, server.id))
        seen = health.seen if health is not None else None
        return MemberObserved(
            pool_id=pool.id,
            member_id=server.id,
            state=_state(pool, server, health),
            check=seen.check if seen is not None else "",
            code=seen.code if seen is not None else None,
            text=seen.text if seen is not None else "",
            since_s=max(0.0, now - health.since) if health is not None else 0.0,
        )


def _list_wanted(document: DatagramDocument | None) -> dict[Place, tuple[DatagramServer, DatagramCheck]]:
    pools = document.pools if document is not None else ()
    return {
        (pool.id, server.id): (server, pool.check)
        for pool in pools
        if pool.check is not None
        for server in pool.servers
        if server.enabled
    }


def _is_same(one: DatagramServer, other: DatagramServer) -> bool:
    return (one.check_address, one.check_port) == (other.check_address, other.check_port)


def _state(pool: DatagramPool, server: DatagramServer, health: Health | None) -> MemberState:
    if not server.enabled:
        return MemberState.MAINT
    if health is not None and not health.works:
        return MemberState.DOWN
    if not server.weight:
        return MemberState.DRAIN
    return MemberState.UP if pool.check is not None else MemberState.NO_CHECK
