"""When the statuses of each load balancer are looked at: at once after news, and again and again; and who comes first.

A process that has just started has all of them to look at. One that fares otherwise than it did when it was looked at
does not wait behind them: it takes turns with those that are heard for the first time or looked at without news.
"""

import datetime as dt
import heapq
import itertools
import random
from collections.abc import Callable, Iterable

import msgspec

from statera.base.metrics import gauge

WAITING = gauge("statera_health_load_balancers_waiting", "Load balancers whose statuses are to be looked at now.")
LAG = gauge("statera_health_lag_seconds", "How long the first of them has waited.")

MOST_PER_BATCH = 200
MOST_OBJECTS = 10_000
"""Load balancers in one batch, and about how many listeners and members: both keep its statements short."""
UNSETTLED_FIRST_S = 1.0
UNSETTLED_MOST_S = 15.0
SETTLED_S = 60.0
"""Seconds until a load balancer is looked at again without news: while edits are applied (doubling), and afterwards."""


class _Look(msgspec.Struct, eq=False):
    due: dt.datetime
    interval_s: float = UNSETTLED_FIRST_S
    seen_before: bool = False
    changed: bool = False
    """Whether something new was said since it was looked at last."""


class Looks:
    """The next look at each load balancer."""

    def __init__(self) -> None:
        self._looks: dict[str, _Look] = {}

    def __contains__(self, load_balancer_id: str) -> bool:
        return load_balancer_id in self._looks

    def hasten(self, load_balancer_id: str, now: dt.datetime) -> None:
        """Look at once: there is news."""
        known = self._looks.get(load_balancer_id)
        seen_before = known is not None and known.seen_before
        since = known.due if known is not None and known.due < now else now
        self._looks[load_balancer_id] = _Look(since, seen_before=seen_before, changed=seen_before)

    def choose(self, now: dt.datetime, count_objects: Callable[[str], int]) -> tuple[list[str], bool]:
        """Return the next batch of those that are due, and whether any are left.

        `count_objects` tells about how many listeners and members one has.
        """
        due = [(load_balancer_id, look) for load_balancer_id, look in self._looks.items() if look.due <= now]
        WAITING.set(len(due))
        LAG.set(max(((now - look.due).total_seconds() for _, look in due), default=0.0))
        changed, others = ([pair for pair in due if pair[1].changed is wanted] for wanted in (True, False))
        batch = choose_batch(_list_oldest(changed), _list_oldest(others), count_objects)
        return batch, len(batch) < len(due)

    def settle(self, load_balancer_id: str, now: dt.datetime) -> None:
        """Look again after long: nothing of it is being applied."""
        # Spread, so that a thousand load balancers heard first at the same time do not stay in step.
        due = now + dt.timedelta(seconds=SETTLED_S * random.uniform(0.75, 1.25))
        self._looks[load_balancer_id] = _Look(due, seen_before=True)

    def defer(self, load_balancer_id: str, now: dt.datetime) -> None:
        """Look again soon, and then less and less soon: the same heartbeats may mean something else by then."""
        interval_s = self._looks[load_balancer_id].interval_s
        later = min(UNSETTLED_MOST_S, interval_s * 2)
        self._looks[load_balancer_id] = _Look(now + dt.timedelta(seconds=interval_s), later, seen_before=True)

    def drop(self, load_balancer_id: str) -> None:
        """Look no more: it is gone, or nobody speaks for it."""
        del self._looks[load_balancer_id]


def _list_oldest(due: Iterable[tuple[str, _Look]]) -> list[str]:
    oldest = heapq.nsmallest(MOST_PER_BATCH, due, key=lambda pair: pair[1].due)
    return [load_balancer_id for load_balancer_id, _ in oldest]


def choose_batch(changed: Iterable[str], others: Iterable[str], count_objects: Callable[[str], int]) -> list[str]:
    """Return the first of both in turn, as many as make a batch: so neither kind ever waits for all of the other."""
    batch: list[str] = []
    objects = 0
    for one in itertools.chain.from_iterable(itertools.zip_longest(changed, others)):
        if len(batch) == MOST_PER_BATCH or objects >= MOST_OBJECTS:
            break
        if one is not None:
            batch.append(one)
            objects += count_objects(one)
    return batch
