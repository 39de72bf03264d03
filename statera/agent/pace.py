"""How soon HAProxy may be reloaded again. Pure: the caller waits."""

from collections import deque

MOST_RELOADS = 10
WITHIN_S = 5.0
"""Each leaves an old worker behind for as long as its connections last. Shorter than anybody waits for the agent;
edits that are made meanwhile come live together."""


class Pace:
    """The last reloads of one HAProxy."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=MOST_RELOADS)

    def wait_s(self, now: float) -> float:
        """Return how long to wait before the next one."""
        if len(self._last) < MOST_RELOADS:
            return 0.0
        return max(0.0, self._last[0] + WITHIN_S - now)

    def note(self, now: float) -> None:
        """Take notice of one."""
        self._last.append(now)
