"""Periodic chores, each done by whichever worker claims its row: orphans are collected, histories kept short.

Entry: `Chores.run`. A chore may be cut off anywhere and done again; one that fails says why in its row and comes again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import msgspec

from statera.base.errors import StateraError, Transient
from statera.base.logging import get_logger
from statera.base.metrics import counter, gauge, histogram
from statera.base.reason import Reason
from statera.control.draining import Drainer
from statera.control.spares import SparePool
from statera.control.surroundings import Surroundings
from statera.control.sweep import Sweeper
from statera.model.work import ChoreClaim
from statera.store.chores import add_chores, claim_chore, renew_chore, save_chore
from statera.store.events import trim_events
from statera.store.failover import trim_failovers

log = get_logger("control")

CHORES = counter("statera_chores_total", "Chores that were done, by outcome: done, failed.", "chore", "outcome")
CHORE_SECONDS = histogram("statera_chore_seconds", "How long a chore took.", "chore", buckets=(0.1, 1.0, 10.0, 60.0))
CHORE_DONE_AT = gauge("statera_chore_last_done_timestamp_seconds", "When a chore last went well here.", "chore")

RENEWALS_PER_LEASE = 3
LONGEST_S = 300.0
"""A chore that takes longer hangs, and is cut off."""
SWEEP_MOST_S = 60.0
TRIM_S = 300.0
REFILL_S = 2.0
"""With spares asked for; a glance at the database without."""
LOOK_S = 30.0
"""Whether spares are still there is asked less often: each costs a call to its host."""
DRAIN_S = 4.0
POLL_MOST_S = 5.0

Memory = Mapping[str, datetime]


class Chore(msgspec.Struct, frozen=True):
    """`work` gets what the last time left in mind, and returns what the next one shall know."""

    name: str
    interval_s: float
    work: Callable[[Memory], Awaitable[Memory]]


class Chores:
    """Does what is due. Any number may run over one database."""

    def __init__(self, around: Surroundings, *, name: str) -> None:
        self._store = around.store
        self._options = around.settings.reconcile
        self._clock = around.clock
        self._name = name
        # Twice within the grace: seen once, still there the next time.
        sweep_s = min(SWEEP_MOST_S, self._options.orphan_grace_s / 2)
        self._drainer = Drainer(around)
        chores = (
            Chore("sweep-orphans", sweep_s, self.sweep_orphans),
            Chore("trim-events", TRIM_S, self.trim_events),
            Chore("refill-spares", REFILL_S, self.refill_spares),
            Chore("drain-hosts", DRAIN_S, self.drain_hosts),
        )
        self._spares = SparePool(around)
        self._sweeper = Sweeper(around)
        self._chores = {chore.name: chore for chore in chores}
        self._poll_s = min([POLL_MOST_S, *(chore.interval_s / 2 for chore in chores)])

    async def run(self, stop: asyncio.Event) -> None:
        """Do chores until `stop` is set; one that is under way then is cut off."""
        working = asyncio.create_task(self._run_for_ever())
        try:
            await stop.wait()
        finally:
            working.cancel()
            await asyncio.wait({working})

    async def _run_for_ever(self) -> None:
        while True:
            try:
                await add_chores(self._store, list(self._chores))
                while await self.run_due():
                    pass
            except Transient as error:
                log.warning("chores wait", sentence=error.sentence)
            except Exception:
                log.exception("chores failed")
            await asyncio.sleep(self._poll_s)

    async def run_due(self) -> bool:
        """Claim and do one chore; False: none is due. Raises `Transient` when the database is down."""
        claim = await claim_chore(self._store, list(self._chores), owner=self._name, lease_s=self._options.lease_s)
        if claim is None:
            return False
        await self._do(claim, self._chores[claim.name])
        return True

    async def _do(self, claim: ChoreClaim, chore: Chore) -> None:
        memory: Memory = claim.memory
        reason = None
        renewing = asyncio.create_task(self._renew(claim))
        try:
            with CHORE_SECONDS.labels(chore.name).time():
                async with asyncio.timeout(LONGEST_S):
                    memory = await chore.work(claim.memory)
        except (StateraError, TimeoutError) as error:
            sentence = "It took too long and was cut off."
            reason = error.reason if isinstance(error, StateraError) else Reason(slug="chore-slow", sentence=sentence)
            log.warning("chore failed", chore=chore.name, slug=reason.slug, sentence=reason.sentence)
        except Exception as error:
            log.exception("chore failed", chore=chore.name)
            reason = Reason(slug="internal-fault", sentence=f"Statera itself failed ({type(error).__name__}).")
        finally:
            renewing.cancel()
        CHORES.labels(chore.name, "done" if reason is None else "failed").inc()
        if reason is None:
            CHORE_DONE_AT.labels(chore.name).set_to_current_time()
        await save_chore(self._store, claim, next_s=chore.interval_s, memory=memory, reason=reason)

    async def _renew(self, claim: ChoreClaim) -> None:
        while True:
            await asyncio.sleep(self._options.lease_s / RENEWALS_PER_LEASE)
            with contextlib.suppress(Transient):
                await renew_chore(self._store, claim, lease_s=self._options.lease_s)

    async def refill_spares(self, memory: Memory) -> Memory:
        """Keep the wanted number of spare amphorae on each host."""
        now = self._clock.now()
        looked_at = memory.get("looked")
        if looked_at is not None and (now - looked_at).total_seconds() < LOOK_S:
            await self._spares.refill()
            return memory
        await self._spares.drop_lost()
        await self._spares.refill()
        return {"looked": now}

    async def drain_hosts(self, memory: Memory) -> Memory:
        """Move amphorae off the hosts that an operator empties."""
        await self._drainer.drain()
        return memory

    async def trim_events(self, memory: Memory) -> Memory:
        """Keep each load balancer's history within its bound."""
        options = self._options
        await trim_events(self._store, options.events_per_load_balancer, age_s=options.event_age_most_s)
        await trim_failovers(self._store)
        return memory

    async def sweep_orphans(self, unknown_since: Memory) -> Memory:
        """Collect sandboxes and ports of ours whose id nobody has known for the grace. Raises as `Sweeper.sweep`."""
        return await self._sweeper.sweep(unknown_since)
