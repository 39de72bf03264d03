"""When to try again after a failure."""

import math

MOST_DOUBLINGS = 64
"""Beyond this every wait is the longest one; larger powers would only overflow."""


def backoff_s(failures: int, *, first_s: float, most_s: float, chance: float) -> float:
    """Return the seconds to wait after `failures` failed tries in a row, the last one counted.

    The wait doubles from `first_s` up to `most_s`; `chance`, a random number in [0, 1), spreads it over its upper half,
    so that what failed together does not come back together.
    """
    doublings = min(max(failures, 1) - 1, MOST_DOUBLINGS)
    whole = min(most_s, math.ldexp(first_s, doublings))
    return whole * (0.5 + chance / 2)
