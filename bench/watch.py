"""Clients that ask VIPs all the time, and what they notice: when they are answered, by whom, and what fails.

Benchmarks, tests of failovers and chaos watch with it what tenants' clients notice of what is done behind a VIP.
"""

import itertools
import threading
import time
from collections import Counter

import msgspec

from bench.client import ask


class Outage(msgspec.Struct, kw_only=True):
    """Requests of one client that failed one after the other; times as those of its watch."""

    vip: str
    began_s: float
    """When the first of them was sent."""
    ended_s: float
    failed: int
    how: str


class Watch:
    """So many clients of each VIP; every request has a connection of its own.

    Times are those of `time.monotonic()`, less `origin_s`.
    """

    def __init__(
        self, *vips: str, clients: int = 2, timeout_s: float, pause_s: float = 0.0, origin_s: float = 0.0
    ) -> None:
        self.answered: list[float] = []
        """When each good answer was there, in order."""
        self.names: Counter[str] = Counter()
        """Good answers by their body, which names the member."""
        self.outages: list[Outage] = []
        self._timeout_s, self._pause_s, self._origin_s = timeout_s, pause_s, origin_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_on, args=(vip,), daemon=True) for vip in vips for _ in range(clients)
        ]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self, vip: str) -> None:
        outage: Outage | None = None
        while not self._stop.is_set():
            began_s = self._now_s()
            answer = ask(vip, timeout_s=self._timeout_s)
            with self._lock:
                now_s = self._now_s()
                if not answer.fault:
                    self.answered.append(now_s)
                    self.names[answer.body] += 1
                    outage = None
                elif outage is None:
                    outage = Outage(vip=vip, began_s=began_s, ended_s=now_s, failed=1, how=answer.fault)
                    self.outages.append(outage)
                else:
                    outage.failed += 1
                    outage.ended_s = now_s
            self._stop.wait(self._pause_s)

    def _now_s(self) -> float:
        return time.monotonic() - self._origin_s

    @property
    def failed(self) -> int:
        return sum(outage.failed for outage in self.outages)

    @property
    def longest_gap_s(self) -> float:
        """The longest time between two answers, whoever got them; infinite while there are not two."""
        times = list(self.answered)
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=float("inf"))

    def has_more_than(self, count: int) -> bool:
        """Say whether so many requests have been answered, and one more."""
        return len(self.answered) > count

    def has_answer_after(self, moment_s: float) -> bool:
        return bool(self.answered) and self.answered[-1] > moment_s

    def tell(self) -> str:
        """Return what was noticed in words."""
        return f"{len(self.answered)} answered, {self.failed} failed, {self.longest_gap_s:.3f} s without an answer"
