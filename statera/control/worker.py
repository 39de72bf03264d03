"""The worker: wakes up on the bell or after the poll interval, claims what is due, and keeps its slots busy.

Entry: `run_control`. Polling is the truth, the bell only the shortcut. A claim is renewed beside its pass, never within
it; a pass that lost its claim is cancelled.
"""

import asyncio
import contextlib
import os
import socket
from secrets import token_hex

from statera.base.errand import on_errand
from statera.base.errors import LostClaim, Transient
from statera.base.logging import get_logger
from statera.base.metrics import gauge, histogram
from statera.base.tracing import span
from statera.control.census import run_census
from statera.control.chores import Chores
from statera.control.reconcile import PASSES, Reconciler
from statera.control.surroundings import Surroundings
from statera.model.work import Claim
from statera.store.bell import WorkBell
from statera.store.claims import claim_load_balancer, lift_epoch, release_claim, renew_claim

log = get_logger("control")

PASS_SECONDS = histogram("statera_pass_seconds", "From a claim to the end of its pass.")
SLOTS_BUSY = gauge("statera_slots_busy", "Load balancers that this worker works on now.")
SLOTS = gauge("statera_slots", "Load balancers that this worker may work on at a time.")

RENEWALS_PER_LEASE = 3
STOP_WITHIN_S = 8.0
CANCEL_WITHIN_S = 2.0
AFTER_FAULT_S = 1.0
EPOCHS_AHEAD = 1_000_000
"""More claims than a load balancer has had since any backup; the database has room for 2^63."""


def name_worker() -> str:
    """Return a name that no other worker has, nor this process after a restart with the same pid."""
    return f"{socket.gethostname()}:{os.getpid()}:{token_hex(3)}"


async def run_control(around: Surroundings, stop: asyncio.Event) -> None:
    """Reconcile load balancers and do the chores until `stop` is set. Any number of processes may."""
    name = name_worker()
    worker = Worker(around, name=name)
    chores = Chores(around, name=name)
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop))
        group.create_task(chores.run(stop))
        group.create_task(run_census(around.store, around.settings.health.certificate_warning_days, stop))


class Worker:
    """Claims and reconciles until stopped. Any number may run over one database."""

    def __init__(self, around: Surroundings, *, name: str = "") -> None:
        self._store = around.store
        self._options = around.settings.reconcile
        self._reconciler = Reconciler(around)
        self._name = name or name_worker()
        self._running: dict[asyncio.Task[None], None] = {}
        self._bell = WorkBell(around.store)
        SLOTS.set(self._options.slots)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then let running passes end or give their claims back."""
        listening = asyncio.create_task(self._bell.run())
        stopping = asyncio.create_task(self._ring_at(stop))
        try:
            while not stop.is_set():
                await self._fill_slots(stop)
                await self._bell.wait(self._options.poll_s)
        finally:
            listening.cancel()
            stopping.cancel()
            await self._finish()

    async def _ring_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._bell.ring()

    async def _fill_slots(self, stop: asyncio.Event) -> None:
        """Claim until nothing is due or every slot is taken; a slot that comes free rings."""
        while len(self._running) < self._options.slots and not stop.is_set():
            claim = await self._claim()
            if claim is None:
                return
            task = asyncio.create_task(self._work(claim))
            self._running[task] = None
            SLOTS_BUSY.set(len(self._running))
            task.add_done_callback(self._end)

    async def _claim(self) -> Claim | None:
        try:
            return await claim_load_balancer(self._store, owner=self._name, lease_s=self._options.lease_s)
        except Transient as error:
            log.warning("cannot claim", sentence=error.sentence)
        except Exception:
            log.exception("cannot claim")
        await asyncio.sleep(AFTER_FAULT_S)
        return None

    def _end(self, task: "asyncio.Task[None]") -> None:
        if len(self._running) >= self._options.slots:
            self._bell.ring()
        self._running.pop(task, None)
        SLOTS_BUSY.set(len(self._running))

    async def _work(self, claim: Claim) -> None:
        with on_errand(claim.errand), PASS_SECONDS.time(), span("pass", "consumer"):
            await self._work_on(claim)

    async def _work_on(self, claim: Claim) -> None:
        """Run one pass with its claim renewed; the edge of the loop, where a fault is logged once."""
        work = asyncio.create_task(self._reconciler.run_pass(claim))
        renewing = asyncio.create_task(self._renew(claim, work))
        try:
            if await work:
                self._bell.ring()
        except asyncio.CancelledError:
            work.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await work
            with contextlib.suppress(Transient):
                await release_claim(self._store, claim)
        except LostClaim as error:
            PASSES.labels("lost").inc()
            log.warning("claim lost", sentence=error.sentence)
            await self._catch_up(claim)
        except Transient as error:
            PASSES.labels("unfinished").inc()
            log.warning("pass not finished", sentence=error.sentence)
            await self._give_back(claim)
        except Exception as error:
            PASSES.labels("fault").inc()
            log.exception("pass failed unexpectedly")
            await self._record_fault(claim, error)
        finally:
            renewing.cancel()

    async def _renew(self, claim: Claim, work: "asyncio.Task[bool]") -> None:
        while True:
            await asyncio.sleep(self._options.lease_s / RENEWALS_PER_LEASE)
            try:
                await renew_claim(self._store, claim, lease_s=self._options.lease_s)
            except LostClaim:
                PASSES.labels("lost").inc()
                work.cancel()
                return
            except Transient:
                continue

    async def _give_back(self, claim: Claim) -> None:
        """Release a claim once the database is back; a lease is over by itself later than that."""
        for _ in range(max(1, int(self._options.lease_s / AFTER_FAULT_S))):
            await asyncio.sleep(AFTER_FAULT_S)
            with contextlib.suppress(Transient):
                await release_claim(self._store, claim)
                return

    async def _catch_up(self, claim: Claim) -> None:
        """Raise the epoch of a claim that only an agent calls too old: the database is older than what agents know.

        One that removed an amphora since the backup refuses to build it, and shows no epoch to go by.
        """
        await asyncio.sleep(AFTER_FAULT_S)
        with contextlib.suppress(LostClaim, Transient):
            await lift_epoch(self._store, claim, claim.epoch + EPOCHS_AHEAD)
            PASSES.labels("lifted").inc()
            log.warning("an agent is ahead of the database", epoch=claim.epoch)

    async def _record_fault(self, claim: Claim, error: Exception) -> None:
        try:
            await self._reconciler.record_fault(claim, error)
        except LostClaim:
            return
        except Exception:
            # The lease runs out by itself, and the row is due again.
            log.exception("fault not recorded")

    async def _finish(self) -> None:
        if not self._running:
            return
        await asyncio.wait(self._running, timeout=STOP_WITHIN_S)
        # In the order in which they began, so that the same run ends in the same way.
        late = [task for task in self._running if not task.done()]
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CANCEL_WITHIN_S)
