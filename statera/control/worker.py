"""The worker: wakes up on the bell or after the poll interval, claims what is due, and keeps its slots busy.

Polling is the truth, the bell only the shortcut. A claim is renewed while its pass runs; a pass that lost it is cancelled.
"""

import asyncio
import contextlib
import os
import socket

from statera.base.clock import Clock
from statera.base.errors import LostClaim, Transient
from statera.base.logging import get_logger
from statera.base.settings import Settings
from statera.control.reconcile import Reconciler
from statera.model.ports import ComputeDriver, NetworkDriver
from statera.model.work import Claim
from statera.store.bell import WorkBell
from statera.store.claims import claim_load_balancer, release_claim, renew_claim
from statera.store.engine import Store

log = get_logger("control")

RENEWALS_PER_LEASE = 3
STOP_WITHIN_S = 8.0
AFTER_FAULT_S = 1.0


class Worker:
    """Claims and reconciles until stopped. Any number may run over one database."""

    def __init__(
        self, store: Store, network: NetworkDriver, compute: ComputeDriver, settings: Settings, clock: Clock
    ) -> None:
        self._store = store
        self._options = settings.reconcile
        self._reconciler = Reconciler(store, network, compute, settings, clock)
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._slots = asyncio.Semaphore(settings.reconcile.slots)
        self._running: set[asyncio.Task[None]] = set()
        self._bell = WorkBell(store)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then let running passes end or give their claims back."""
        listening = asyncio.create_task(self._bell.run())
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self._fill_slots(stop)
                waiting = asyncio.create_task(self._bell.wait(self._options.poll_s))
                await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        finally:
            listening.cancel()
            stopping.cancel()
            await self._finish()

    async def _fill_slots(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._slots.acquire()
            claim = None
            try:
                claim = await claim_load_balancer(self._store, owner=self._name, lease_s=self._options.lease_s)
            except Transient as error:
                log.warning("cannot claim", sentence=error.sentence)
                await asyncio.sleep(AFTER_FAULT_S)
            finally:
                if claim is None:
                    self._slots.release()
            if claim is None:
                return
            task = asyncio.create_task(self._work(claim))
            self._running.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._slots.release()

    async def _work(self, claim: Claim) -> None:
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
            await self._release(claim)
        except LostClaim as error:
            log.warning("claim lost", load_balancer=claim.load_balancer_id, sentence=error.sentence)
        except Transient as error:
            # The database is down: the lease runs out by itself, and the row is due again.
            log.warning("pass not finished", load_balancer=claim.load_balancer_id, sentence=error.sentence)
        except Exception as error:
            log.exception("pass failed unexpectedly", load_balancer=claim.load_balancer_id)
            with contextlib.suppress(Transient, LostClaim):
                await self._reconciler.record_fault(claim, error)
        finally:
            renewing.cancel()

    async def _renew(self, claim: Claim, work: "asyncio.Task[bool]") -> None:
        while True:
            await asyncio.sleep(self._options.lease_s / RENEWALS_PER_LEASE)
            try:
                await renew_claim(self._store, claim, lease_s=self._options.lease_s)
            except LostClaim:
                work.cancel()
                return
            except Transient:
                continue

    async def _release(self, claim: Claim) -> None:
        with contextlib.suppress(Transient):
            await release_claim(self._store, claim)

    async def _finish(self) -> None:
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=STOP_WITHIN_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=2.0)
