"""When something goes wrong: drawn from the seed, different in kind and number for each one, and over at the end."""

import random
from collections import Counter

KINDS = (
    "crash",
    "freeze",
    "database-refuses",
    "database-answer-lost",
    "database-slow",
    "database-away",
    "database-restored",
    "host-refuses",
    "host-answer-lost",
    "host-hangs",
    "question-hangs",
    "host-late",
    "host-twice",
    "host-lies",
    "host-old-news",
    "host-forgotten",
    "secrets-refuse",
    "secrets-hang",
    "secrets-late",
    "secrets-away",
    "secret-renewed",
    "secret-lost",
    "skew",
    "heartbeat-lost",
    "heartbeat-late",
    "heartbeat-twice",
    "heartbeat-of-old-boot",
    "heartbeat-forged",
    "clock-jumps",
    "database-clock-jumps",
)
MOST = 0.04
"""Chance of one fault of a kind at one point, where the kind is frequent."""


class Faults:
    """`strikes` says whether a fault of a kind happens now."""

    def __init__(self, rng: random.Random, deadly: str = "", sure: str = "") -> None:
        self.rng = rng
        self._sure = sure
        """A kind that is there for sure, and comes whenever it may."""
        self.deadly = deadly
        """A point at which whoever comes by first dies for sure: chance kills seldom where few come by."""
        self.over = False
        self.counts: Counter[str] = Counter()
        """How often each kind struck."""
        self.points: Counter[str] = Counter()
        """How often processes came by each point, and how often one died there."""
        self.deaths: Counter[str] = Counter()
        # Many seeds have few kinds: what only shows when one fault comes alone must not drown in others.
        chosen = rng.sample(KINDS, rng.randint(1, len(KINDS)))
        self._chances = {kind: rng.choice((0.002, 0.01, MOST)) for kind in chosen}
        if sure:
            self._chances[sure] = MOST

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted(self._chances))

    def strikes(self, kind: str) -> bool:
        if self.over or kind not in self._chances or self.rng.random() >= self._chances[kind]:
            return False
        self.counts[kind] += 1
        return True

    def comes(self, kind: str, chance: float) -> bool:
        """Say whether a fault of a kind comes now that few occasions have: frequent or not, as `chance` has it."""
        if self.over or kind not in self._chances or (self.rng.random() >= chance and kind != self._sure):
            return False
        self.counts[kind] += 1
        return True

    def draw_s(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)

    def draw_skew_s(self) -> float:
        """Return by how many seconds the clock of a process that starts now is wrong."""
        return self.rng.uniform(-5.0, 5.0) if self.strikes("skew") else 0.0
