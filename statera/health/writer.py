"""Derives the statuses of load balancers with news and writes what changes: nothing said anew costs no row.

Level-triggered: besides news, each load balancer is looked at again after a while, soon as long as its edits are being
applied, because an edit or the reconciler may have changed what the same heartbeats mean.
"""

import asyncio
import datetime as dt
import random
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from statera.base.clock import Clock
from statera.base.errors import Transient
from statera.base.logging import get_logger
from statera.base.metrics import counter, gauge, histogram
from statera.health.memory import Memory
from statera.model.amphora import Amphora
from statera.model.enums import ProvisioningStatus
from statera.model.status import StatusChange, derive_statuses
from statera.model.tree import Tree
from statera.store.amphorae import list_voices, save_holders, touch_amphorae
from statera.store.engine import Store
from statera.store.observations import list_certificate_ends, save_statuses
from statera.store.statistics import save_counted
from statera.store.trees import load_tree

log = get_logger("health")

WAITING = gauge("statera_health_load_balancers_waiting", "Load balancers whose statuses are to be looked at now.")
LAG = gauge("statera_health_lag_seconds", "How long the first of them has waited.")
FLUSH_SECONDS = histogram("statera_health_flush_seconds", "How long it took to derive and write statuses.")
CHANGES = counter("statera_health_status_changes_total", "Operating statuses that were written.")

MOST_PER_FLUSH = 200
"""Load balancers in one batch: keeps one write short, the rest waits for the next half second."""
PARALLEL_LOADS = 4
UNSETTLED_FIRST_S = 1.0
UNSETTLED_MOST_S = 15.0
SETTLED_S = 60.0
"""Seconds until a load balancer is looked at again without news: while edits are applied (doubling), and afterwards."""

Learn = Callable[[Iterable[Amphora], dt.datetime], None]


class _Look(msgspec.Struct, eq=False):
    due: dt.datetime
    interval_s: float


class StatusWriter:
    """Turns the news in `memory` into rows. `learn` takes in who belongs to which load balancer.

    Tenants are told of their certificates `warn_days` days before the end.
    """

    def __init__(self, store: Store, clock: Clock, memory: Memory, learn: Learn, warn_days: float) -> None:
        self._store = store
        self._clock = clock
        self._memory = memory
        self._learn = learn
        self._warn_days = warn_days
        self._looks: dict[str, _Look] = {}
        self._ends: dict[str, Mapping[str, dt.datetime]] = {}
        self._waiting_since: dt.datetime | None = None

    async def flush(self) -> int:
        """Write the news of up to `MOST_PER_FLUSH` load balancers; return how many objects changed.

        When the database is away nothing is lost: all of it is due at the next flush.
        """
        now = self._clock.now()
        for load_balancer_id in self._memory.take_news():
            self._looks[load_balancer_id] = _Look(now, UNSETTLED_FIRST_S)
        due = [load_balancer_id for load_balancer_id, look in self._looks.items() if look.due <= now]
        WAITING.set(len(due))
        LAG.set(max((now - self._looks[one].due).total_seconds() for one in due) if due else 0.0)
        due = due[:MOST_PER_FLUSH]
        try:
            changed = await self._write(due, now) if due else 0
        except Transient as error:
            if self._waiting_since is None:
                log.warning("statuses_wait", reason=error.sentence)
                self._waiting_since = now
            return 0
        if self._waiting_since is not None:
            log.info("statuses_written_again", waited_s=(now - self._waiting_since).total_seconds())
            self._waiting_since = None
        return changed

    async def _write(self, load_balancer_ids: list[str], now: dt.datetime) -> int:
        begun = time.monotonic()
        if self._memory.has_strangers(load_balancer_ids):
            self._learn(await list_voices(self._store), now)
        gate = asyncio.Semaphore(PARALLEL_LOADS)
        jobs = [self._derive(gate, load_balancer_id, now) for load_balancer_id in load_balancer_ids]
        derived = await asyncio.gather(*jobs)
        changes = [change for _, found in derived for change in found]
        if changes:
            await save_statuses(self._store, changes)
        CHANGES.inc(len(changes))
        FLUSH_SECONDS.observe(time.monotonic() - begun)
        for load_balancer_id, (tree, found) in zip(load_balancer_ids, derived, strict=True):
            self._plan_look(load_balancer_id, tree, now)
            for change in found:
                _tell(load_balancer_id, change)
        return len(changes)

    async def _derive(
        self, gate: asyncio.Semaphore, load_balancer_id: str, now: dt.datetime
    ) -> tuple[Tree | None, tuple[StatusChange, ...]]:
        async with gate:
            tree = await load_tree(self._store, load_balancer_id)
        if tree is None:
            return None, ()
        try:
            return tree, derive_statuses(tree, self._memory.observe(load_balancer_id), now, self._warn_days)
        except Exception:
            # One tree that cannot be judged must not keep the others of its batch waiting.
            log.exception("status_failed", load_balancer_id=load_balancer_id)
            return tree, ()

    def _plan_look(self, load_balancer_id: str, tree: Tree | None, now: dt.datetime) -> None:
        look = self._looks[load_balancer_id]
        self._ends.pop(load_balancer_id, None)
        if tree is not None and tree.load_balancer.certificate_ends:
            self._ends[load_balancer_id] = tree.load_balancer.certificate_ends
        if tree is None or not self._memory.concerns(load_balancer_id):
            del self._looks[load_balancer_id]
        elif is_settled(tree) and self._memory.holders.find(load_balancer_id) is None:
            # Spread, so that a thousand load balancers heard first at the same time do not stay in step.
            look.due = now + dt.timedelta(seconds=SETTLED_S * random.uniform(0.75, 1.25))
            look.interval_s = UNSETTLED_FIRST_S
        else:
            look.due = now + dt.timedelta(seconds=look.interval_s)
            look.interval_s = min(UNSETTLED_MOST_S, look.interval_s * 2)

    async def watch_certificates(self) -> None:
        """Have those looked at next whose certificates end at another time than when they were looked at last.

        A certificate that is replaced in the store of secrets is no news to any amphora. Raises `Transient`.
        """
        if not self._ends:
            return
        told, now = await list_certificate_ends(self._store, self._ends), self._clock.now()
        for load_balancer_id in self._ends.keys() & self._looks.keys():
            if told.get(load_balancer_id) != self._ends[load_balancer_id]:
                self._looks[load_balancer_id] = _Look(now, UNSETTLED_FIRST_S)

    async def touch(self) -> None:
        """Write when amphorae were heard last. A write that fails is left out: the next one says more."""
        try:
            await touch_amphorae(self._store, self._memory.take_heard())
        except Transient as error:
            log.debug("touch_waits", reason=error.sentence)

    async def hold(self) -> None:
        """Write who has the VIPs that are shared, where that is news. What cannot be written is told again later."""
        news = self._memory.holders.take_news(self._memory.knows)
        try:
            await save_holders(self._store, news)
        except Transient as error:
            self._memory.holders.put_back(news)
            log.debug("holders_wait", reason=error.sentence)

    async def count(self) -> None:
        """Write the counters that moved. Those of a write that fails are told again by the next one."""
        counted = self._memory.take_counted()
        try:
            await save_counted(self._store, counted)
        except Transient as error:
            self._memory.put_back(counted)
            log.debug("counters_wait", reason=error.sentence)


def is_settled(tree: Tree) -> bool:
    """Say whether nothing of the tree is being applied."""
    resources = (
        tree.load_balancer,
        *tree.listeners,
        *tree.pools,
        *tree.members,
        *tree.health_monitors,
        *tree.l7policies,
        *tree.l7rules,
    )
    done = (ProvisioningStatus.ACTIVE, ProvisioningStatus.ERROR)
    return tree.load_balancer.generation == tree.load_balancer.observed_generation and all(
        resource.provisioning_status in done for resource in resources
    )


def _tell(load_balancer_id: str, change: StatusChange) -> None:
    log.debug(
        "operating_status",
        load_balancer_id=load_balancer_id,
        kind=change.kind.__name__,
        id=change.id,
        status=change.operating_status.value,
        reason=change.reason.sentence if change.reason else "",
    )
