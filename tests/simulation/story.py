"""What happened, in order: printed when a seed fails, and equal whenever a seed is played again."""

import asyncio
import datetime as dt
import hashlib
from collections.abc import Callable

EPOCH = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)


def tell_time() -> float:
    """Return the seconds that have passed in this run."""
    return asyncio.get_running_loop().time()


class Story:
    """`looks` is called after each step that is told, `looks_at_rows` after each statement of the database.

    Both raise `AssertionError` for what must not be. The first one is kept in `broken`, which ends the run from
    outside: raised where it happens a process would take it for a fault of its own, and go on.
    """

    def __init__(self, looks: Callable[[], None], looks_at_rows: Callable[[], None]) -> None:
        self.lines: list[str] = []
        self.broken: AssertionError | None = None
        self._looks = looks
        self._looks_at_rows = looks_at_rows

    def tell(self, who: str, what: str) -> None:
        self.lines.append(f"{tell_time():9.3f}  {who:<12} {what}")
        self.look()

    def look(self) -> None:
        self._guard(self._looks)

    def look_at_rows(self) -> None:
        self._guard(self._looks_at_rows)

    def mark_broken(self, error: AssertionError) -> None:
        if self.broken is None:
            self.broken = error
            self.lines.append(f"{tell_time():9.3f}  {'THE RULE':<12} is broken: {error}")

    def _guard(self, look: Callable[[], None]) -> None:
        try:
            look()
        except AssertionError as error:
            self.mark_broken(error)

    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()
