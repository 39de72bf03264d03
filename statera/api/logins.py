"""How many wrong passwords of one user are looked at in a minute."""

from collections import deque
from collections.abc import Callable

from statera.base.recent import remember

WINDOW_S = 60.0
MOST_NAMES = 4096
"""Names remembered at a time; whoever invents more makes old ones forgotten, and still waits for each check's turn."""


class FailedLogins:
    """Remembers failures of the last minute by user name, known or not. `now` returns seconds."""

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self._most = most
        self._now = now
        self._failures: dict[str, deque[float]] = {}

    def wait_s(self, name: str) -> float:
        """Return after how many seconds a password of this user may be tried again, 0 when it may be now."""
        failures = self._failures.get(name)
        if failures is None:
            return 0.0
        while failures and failures[0] <= self._now() - WINDOW_S:
            failures.popleft()
        if not failures:
            del self._failures[name]
            return 0.0
        return failures[0] + WINDOW_S - self._now() if len(failures) >= self._most else 0.0

    def note(self, name: str) -> None:
        """Count a failure."""
        failures = self._failures.get(name) or deque(maxlen=self._most)
        failures.append(self._now())
        remember(self._failures, name, failures, MOST_NAMES)
