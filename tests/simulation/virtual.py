"""An event loop whose time passes only when nobody has anything to do: days take seconds, and each run is the same."""

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVarTuple

Args = TypeVarTuple("Args")
TOGETHER_S = 1e-9
"""What is due within this runs in one go, as on a real clock, which tells no shorter times apart."""


class Deadlock(Exception):
    """Everybody waits for something that nobody will do."""


class Call(asyncio.TimerHandle):
    """Something to do, now or later. Unlike asyncio's own it keeps no account for debugging: most of a run is these."""

    __slots__ = ("args", "callback", "context", "is_cancelled")

    def __init__(
        self, callback: Callable[[*Args], object], args: tuple[*Args], context: contextvars.Context | None
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context if context is not None else contextvars.copy_context()
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled


class VirtualLoop(asyncio.BaseEventLoop):
    """Waits for calls and for time, never for the network. A callback that fails ends the run."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_s = 0.0
        self._now: deque[Call] = deque()
        self._later: list[tuple[float, int, Call]] = []
        """By when they are due, and in which order they were asked for."""
        self._numbers = itertools.count()

    def time(self) -> float:
        return self._passed_s

    def call_soon(
        self, callback: Callable[[*Args], object], *args: *Args, context: contextvars.Context | None = None
    ) -> Call:
        call = Call(callback, args, context)
        self._now.append(call)
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Args], object],
        *args: *Args,
        context: contextvars.Context | None = None,
    ) -> Call:
        return self.call_at(self._passed_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Args], object], *args: *Args, context: contextvars.Context | None = None
    ) -> Call:
        call = Call(callback, args, context)
        heapq.heappush(self._later, (when, next(self._numbers), call))
        return call

    def _run_once(self) -> None:
        """Do what is ready, or else what is due next. `asyncio.BaseEventLoop` calls it until it is stopped."""
        now, later = self._now, self._later
        while later and later[0][2].is_cancelled:
            heapq.heappop(later)
        if not now:
            self._pass_time()
        due = self._passed_s + TOGETHER_S
        while later and later[0][0] < due:
            now.append(heapq.heappop(later)[2])
        # What these ask for is done the next time.
        for _ in range(len(now)):
            call = now.popleft()
            if not call.is_cancelled:
                call.context.run(call.callback, *call.args)

    def _pass_time(self) -> None:
        if not self._later:
            raise Deadlock("nothing is scheduled and nothing is ready")
        self._passed_s += max(0.0, self._later[0][0] - self._passed_s)


def run_virtually(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end on a loop of its own; whatever is left over then is cancelled."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.get_loop().set_exception_handler(_note)
        runner.run(main)


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Whoever died leaves calls behind that nobody asks about any more.
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)
