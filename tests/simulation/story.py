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
    """`looks` is called after each step that is told."""

    def __init__(self, looks: Callable[[], None]) -> None:
        self.lines: list[str] = []
        self._looks = looks

    def tell(self, who: str, what: str) -> None:
        self.lines.append(f"{tell_time():9.3f}  {who:<12} {what}")
        self._looks()

    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()
