"""Derives the statuses of load balancers with news and writes what changes: nothing said anew costs no row.

Level-triggered: besides news, each load balancer is looked at again after a while, soon as long as its edits are being
applied, because an edit or the reconciler may have changed what the same heartbeats mean.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Mapping, Sequence

from statera.base.clock import Clock
from statera.base.errors import Transient
from statera.base.logging import get_logger
from statera.base.metrics import counter, histogram
from statera.health.judge import Judge
from statera.health.looks import Looks
from statera.health.memory import Memory
from statera.model.enums import ProvisioningStatus
from statera.model.status import StatusChange, derive_statuses
from statera.model.tree import Tree
from statera.store.amphorae import list_voices, save_holders, touch_amphorae
from statera.store.engine import Store
from statera.store.observations import list_certificate_ends, save_statuses
from statera.store.statistics import save_counted
from statera.store.trees import load_trees

log = get_logger("health")

FLUSH_SECONDS = histogram("statera_health_flush_seconds", "How long it took to derive and write statuses.")
CHANGES = counter("statera_health_status_changes_total", "Operating statuses that were written.")


class StatusWriter:
    """Turns the news in `memory` into rows, as long as the judge knows who has spoken to others.

    Tenants are told of their certificates `warn_days` days before the end.
    """

    def __init__(self, store: Store, clock: Clock, memory: Memory, judge: Judge, warn_days: float) -> None:
        self._store = store
        self._clock = clock
        self._memory = memory
        self._judge = judge
        self._warn_days = warn_days
        self._looks = Looks()
        self._ends: dict[str, Mapping[str, dt.datetime]] = {}
        self._waiting_since: dt.datetime | None = None

    async def flush(self) -> bool:
        """Look at one batch of the load balancers that are due; return whether others are left.

        When the database is away nothing is lost: all of it is due at the next flush.
        """
        now = self._clock.now()
        for load_balancer_id in self._memory.take_news():
            self._looks.hasten(load_balancer_id, now)
        batch, is_more = self._looks.choose(now, self._memory.count_objects)
        if not self._judge.is_current(now):
            # Others may have heard more than this process, which was away or has just begun.
            return False
        try:
            await self._look(batch, now)
        except Transient as error:
            if self._waiting_since is None:
                log.warning("statuses_wait", reason=error.sentence)
                self._waiting_since = now
            return False
        if self._waiting_since is not None:
            log.info("statuses_written_again", waited_s=(now - self._waiting_since).total_seconds())
            self._waiting_since = None
        return is_more

    async def _look(self, load_balancer_ids: Sequence[str], now: dt.datetime) -> None:
        if not load_balancer_ids:
            return
        try:
            await self._write(load_balancer_ids, now)
        except Transient:
            raise
        except Exception:
            # One that cannot be read, judged or written must not keep the others of its batch waiting.
            if len(load_balancer_ids) == 1:
                log.exception("status_failed", load_balancer_id=load_balancer_ids[0])
                self._looks.defer(load_balancer_ids[0], now)
                return
            half = len(load_balancer_ids) // 2
            await self._look(load_balancer_ids[:half], now)
            await self._look(load_balancer_ids[half:], now)

    async def _write(self, load_balancer_ids: Sequence[str], now: dt.datetime) -> None:
        begun = time.monotonic()
        if self._memory.has_strangers(load_balancer_ids):
            self._judge.learn(await list_voices(self._store), now)
        trees = await load_trees(self._store, load_balancer_ids)
        changes: dict[str, tuple[StatusChange, ...]] = {}
        for one, tree in trees.items():
            changes[one] = derive_statuses(tree, self._memory.observe(one), now, self._warn_days)
            # Heartbeats are taken in between.
            await asyncio.sleep(0)
        await save_statuses(self._store, [change for found in changes.values() for change in found])
        CHANGES.inc(sum(map(len, changes.values())))
        FLUSH_SECONDS.observe(time.monotonic() - begun)
        for one in load_balancer_ids:
            self._plan_look(one, trees.get(one), now)
            for change in changes.get(one, ()):
                _tell(one, change)

    def _plan_look(self, load_balancer_id: str, tree: Tree | None, now: dt.datetime) -> None:
        self._ends.pop(load_balancer_id, None)
        if tree is not None and tree.load_balancer.certificate_ends:
            self._ends[load_balancer_id] = tree.load_balancer.certificate_ends
        if tree is None or not self._memory.concerns(load_balancer_id):
            self._looks.drop(load_balancer_id)
        elif is_settled(tree) and self._memory.holders.find(load_balancer_id) is None:
            self._looks.settle(load_balancer_id, now)
        else:
            self._looks.defer(load_balancer_id, now)

    async def watch_certificates(self) -> None:
        """Have those looked at next whose certificates end at another time than when they were looked at last.

        A certificate that is replaced in the store of secrets is no news to any amphora. Raises `Transient`.
        """
        if not self._ends:
            return
        told, now = await list_certificate_ends(self._store, self._ends), self._clock.now()
        for load_balancer_id, ends in self._ends.items():
            if load_balancer_id in self._looks and told.get(load_balancer_id) != ends:
                self._looks.hasten(load_balancer_id, now)

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
