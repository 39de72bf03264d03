"""How soon what broke in a sandbox is mended again. Pure: the caller waits."""

import math

AT_ONCE = 5
"""Starts in a row after which the waits grow: who was killed a few times is not one that cannot live."""
FIRST_S, MOST_S = 0.1, 4.0
"""Between two starts: twice as long each time after those. HAProxy that cannot live must not keep a core busy; but a
client waits for no more than 5 s, however often it was killed before."""
STEADY_S = 30.0
"""Who has lived for so long begins anew."""
MOST_DOUBLINGS = 10


class Restarts:
    """Those of one sandbox."""

    def __init__(self) -> None:
        self._count = 0
        self._last = float("-inf")

    def wait_s(self, now: float) -> float:
        """Return how long to wait before the next one, 0.0 when it is due."""
        doublings = min(max(self._count - AT_ONCE, 0), MOST_DOUBLINGS)
        return max(0.0, self._last + min(math.ldexp(FIRST_S, doublings), MOST_S) - now)

    def note(self, now: float) -> None:
        """Take notice of one."""
        self._count = 1 if now - self._last >= STEADY_S else self._count + 1
        self._last = now
