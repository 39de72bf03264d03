"""What a scenario returns, and the few numbers that are made of many samples."""

import math
from collections.abc import Sequence

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number, with its budget if it has one."""

    what: str
    value: float
    unit: str = ""
    budget: float | None = None
    at_least: bool = False
    """Whether the budget is the least that will do; else it is the most."""
    detail: str = ""

    @property
    def is_met(self) -> bool | None:
        """Say whether the budget is kept, None without one."""
        if self.budget is None:
            return None
        return self.value >= self.budget if self.at_least else self.value <= self.budget


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one scenario; `fault` is what broke, "" when nothing did."""

    scenario: str
    figures: tuple[Figure, ...] = ()
    seconds: float = 0.0
    fault: str = ""


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` of all samples do not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]


def median(samples: Sequence[float]) -> float:
    return percentile(samples, 50)


def spread(samples: Sequence[float], unit: str) -> str:
    """Return the number of samples, the least and the most in words."""
    digits = 0 if min(samples) >= 10 else 2
    return f"{len(samples)} samples, {min(samples):.{digits}f} to {max(samples):.{digits}f} {unit}"
