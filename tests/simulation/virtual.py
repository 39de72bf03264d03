"""An event loop whose time passes only when nobody has anything to do: days take seconds, and each run is the same."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class Deadlock(Exception):
    """Everybody waits for something that nobody will do."""


class _IdleSelector(selectors.DefaultSelector):
    """Instead of waiting for the network it puts the clock forward."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("nothing is scheduled and nothing is ready")
        self.loop.pass_time(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = _IdleSelector()
        selector.loop = self
        self._passed_s = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self._passed_s

    def pass_time(self, seconds: float) -> None:
        self._passed_s += max(0.0, seconds)


def run_virtually(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end on a loop of its own; whatever is left over then is cancelled."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.get_loop().set_exception_handler(_note)
        runner.run(main)


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Whoever died leaves calls behind that nobody asks about any more.
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)
