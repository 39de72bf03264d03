"""What runs: processes that reach the outside only through points, where they may be slow, frozen or dead."""

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine
from typing import Any

from tests.simulation.faults import Faults
from tests.simulation.story import EPOCH, Story, tell_time

Main = Callable[["Process"], Coroutine[Any, Any, None]]
Disturbs = Callable[["Process", float], None]
REST_S = (0.5, 4.0)
"""How long a process that died stays away."""


class Process:
    """One operating system process: what it has in memory is lost when it dies, and it dies at any point.

    `disturbs` is told of each fault that works on it, and until when it does.
    """

    def __init__(self, name: str, main: Main, faults: Faults, story: Story, disturbs: Disturbs) -> None:
        self.kind = name
        self.name = name
        self.faults = faults
        self.story = story
        self.dead = True
        self.born = 0
        self.disturbed_until = 0.0
        """Until when a fault works on it, or worked last."""
        self._main = main
        self._disturbs = disturbs
        self._frozen_until = 0.0
        self._skew_s = 0.0
        self._task: asyncio.Task[None] | None = None

    # As the process itself sees it

    def now(self) -> dt.datetime:
        """Return the time by this process's own clock."""
        return EPOCH + dt.timedelta(seconds=tell_time() + self._skew_s)

    @property
    def still_s(self) -> float:
        """How long it does nothing yet, in seconds."""
        return self._frozen_until - tell_time()

    async def point(self, what: str, kind: str = "") -> None:
        """Stand where the process may be killed or frozen. Everything that it does outside has one before and after.

        `kind` is what such points are counted under, where `what` says more.
        """
        if self.dead:
            # What a dead process would still have done never happens.
            raise asyncio.CancelledError
        faults, kind = self.faults, kind or what
        faults.points[kind] += 1
        if kind == faults.deadly or self.strikes("crash"):
            faults.deadly = "" if kind == faults.deadly else faults.deadly
            faults.deaths[kind] += 1
            self.story.tell(self.name, f"dies at {what}")
            self.kill()
            raise asyncio.CancelledError
        if self.strikes("freeze"):
            seconds = self.faults.draw_s(1.0, 25.0)
            self.story.tell(self.name, f"stops at {what} for {seconds:.1f} s")
            self._frozen_until = tell_time() + seconds
            self.disturb(seconds)
        await asyncio.sleep(self.faults.draw_s(0.001, 0.02))
        while self._frozen_until > tell_time():
            await asyncio.sleep(self._frozen_until - tell_time())
        if self.dead:
            raise asyncio.CancelledError

    def strikes(self, kind: str) -> bool:
        """Say whether a fault of a kind happens to it now."""
        struck = self.faults.strikes(kind)
        if struck:
            self.disturb(0.0)
        return struck

    def disturb(self, seconds: float) -> None:
        """Tell that a fault works on it for so long."""
        until = tell_time() + seconds
        self.disturbed_until = max(self.disturbed_until, until)
        self._disturbs(self, until)

    # As its supervisor sees it

    def turn_clock(self, skew_s: float) -> None:
        """Set by how many seconds its clock is wrong from now on."""
        self._skew_s = skew_s
        self.disturb(0.0)

    def kill(self) -> None:
        self.dead = True
        self._frozen_until = 0.0
        if self._task is not None:
            self._task.cancel()

    async def run(self, until: asyncio.Event) -> None:
        """Start it again whenever it has died."""
        while not until.is_set():
            self.born += 1
            self.name = f"{self.kind}#{self.born}"
            self._skew_s = self.faults.draw_skew_s()
            self.dead = False
            self._task = asyncio.create_task(self._main(self))
            await asyncio.wait({self._task})
            self.dead = True
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                raise error
            if not until.is_set():
                await asyncio.sleep(self.faults.draw_s(*REST_S))

    async def end(self) -> None:
        self.kill()
        if self._task is not None:
            await asyncio.wait({self._task})
