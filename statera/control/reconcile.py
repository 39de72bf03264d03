"""One pass over one load balancer: a snapshot of generation G, what is observed, a plan, its steps, and the end of it.

A pass never undoes anything. When it fails, the next one plans from what is there then. All that it writes is
conditional on the epoch of its claim, and the agents refuse older epochs: a worker that comes back late does no harm.
"""

import contextlib
import random

from statera.base.errors import Lasting, Refused, StateraError, Transient
from statera.base.logging import get_logger
from statera.base.metrics import counter
from statera.control.act import Actor, SpareTaken
from statera.control.observe import Observer
from statera.control.run import Run
from statera.control.surroundings import Surroundings
from statera.model.amphora import AmphoraObserved
from statera.model.become import settle_tree
from statera.model.enums import ProvisioningStatus
from statera.model.expiry import find_ends
from statera.model.work import Claim
from statera.plan.failure import decide_failure
from statera.plan.plan import decide_plan
from statera.plan.seats import is_live
from statera.plan.steps import DropLoadBalancer, Settle
from statera.store.claims import (
    lift_epoch,
    load_snapshot,
    remove_load_balancer,
    save_certificate_ends,
    save_failure,
    save_settled,
)

log = get_logger("control")

PASSES = counter(
    "statera_passes_total",
    "Passes over load balancers by their end: settled, deleted, failed, lost to another worker, unfinished because of "
    "the database, fault of our own, lifted over the epochs that agents know.",
    "outcome",
)
FAILURES = counter("statera_pass_failures_total", "Passes that failed, by the slug of their reason.", "slug")
STEPS = counter("statera_steps_total", "Steps of plans that were done, by their name in the code.", "step")

OUR_OWN_TROUBLE = ("database-unavailable", "database-not-upgraded")
"""Not the load balancer's failure, and nothing that could be written anywhere."""
SPARE_TRIES = 3
TRACES_S = 5.0
"""A host that comes back may bring a replaced amphora with the VIP: until it is gone it is looked for this often."""


class Reconciler:
    """Runs passes. Holds nothing between them but what hosts said of themselves last."""

    def __init__(self, around: Surroundings) -> None:
        self._store = around.store
        self._options = around.settings.reconcile
        self._clock = around.clock
        self._observer = Observer(around)
        self._actor = Actor(around, self._observer)

    async def run_pass(self, claim: Claim) -> bool:
        """Carry out one pass and settle it or record its failure; return whether more work waits.

        Raises `LostClaim` when another worker took over, `Transient` when the database is down.
        """
        snapshot = await load_snapshot(self._store, claim)
        if snapshot is None:
            return False
        run = Run(claim, snapshot)
        try:
            for _ in range(SPARE_TRIES):
                # Each time another load balancer was faster, a new plan finds another spare.
                with contextlib.suppress(SpareTaken):
                    return await self._converge(run)
            return await self._converge(run)
        except (Transient, Lasting, Refused) as error:
            if error.reason.slug in OUR_OWN_TROUBLE:
                raise
            return await self._record_failure(run, error)

    async def record_fault(self, claim: Claim, error: Exception) -> None:
        """Show a fault of our own on the object; the log has the details. Raises `LostClaim`, `Transient`."""
        snapshot = await load_snapshot(self._store, claim)
        if snapshot is not None:
            sentence = f"Statera itself failed ({type(error).__name__}); it tries again."
            await self._record_failure(Run(claim, snapshot), Transient("internal-fault", sentence))

    async def _converge(self, run: Run) -> bool:
        world = await self._observer.observe(run)
        run.is_served = any(is_live(world, row) for row in world.amphorae)
        seen = max((one.epoch for one in world.sightings.values() if isinstance(one, AmphoraObserved)), default=0)
        if seen > run.claim.epoch:
            # Either another worker has taken over, or the database is an older one than the agents know.
            await lift_epoch(self._store, run.claim, seen)
            PASSES.labels("lifted").inc()
            log.warning("agents are ahead of the database", epoch=seen)
            return True
        for step in decide_plan(world).steps:
            if isinstance(step, Settle):
                return await self._settle(run, step)
            if isinstance(step, DropLoadBalancer):
                return await self._drop(run, step)
            await self._actor.act(run, step)
            STEPS.labels(type(step).__name__).inc()
        raise AssertionError("a plan ends with an end")

    async def _note_certificates(self, run: Run) -> None:
        """Write when those end that are served now; health tells of it."""
        if run.bundles is None:
            return
        ends = find_ends({ref: bundle.not_after for ref, bundle in run.bundles.items()})
        if ends != run.balancer.certificate_ends:
            await save_certificate_ends(self._store, run.claim, ends)

    async def _settle(self, run: Run, step: Settle) -> bool:
        if _is_news(run):
            run.note(step.sentence, self._clock.now())
        # Spread: what was created together is not re-checked together.
        recheck_s = self._options.recheck_s * (0.75 + random.random() / 2)
        if step.leaves_traces:
            recheck_s = min(recheck_s, TRACES_S)
        is_new = run.balancer.observed_generation != run.generation
        await self._note_certificates(run)
        more = await save_settled(
            self._store,
            run.claim,
            step.generation,
            recheck_s=recheck_s,
            history=run.history,
            tree=settle_tree(run.tree) if is_new else None,
            keep=self._options.generations_per_load_balancer,
        )
        PASSES.labels("settled").inc()
        if run.history:
            log.info("settled", generation=step.generation, more=more)
        return more

    async def _drop(self, run: Run, step: DropLoadBalancer) -> bool:
        run.note(step.sentence, self._clock.now())
        await remove_load_balancer(self._store, run.claim, history=run.history)
        PASSES.labels("deleted").inc()
        log.info("deleted")
        return False

    async def _record_failure(self, run: Run, error: StateraError) -> bool:
        now = self._clock.now()
        verdict = decide_failure(error, run.claim, self._options, now=now, chance=random.random())
        shown = run.balancer.reason
        turns_bad = verdict.as_error and run.balancer.provisioning_status != ProvisioningStatus.ERROR
        if run.claim.failures == 0 or turns_bad or shown is None or shown.slug != error.reason.slug:
            what = "Cannot be applied as it is." if verdict.as_error else "Not applied yet, it is tried again."
            run.note(what, now, error.reason)
        PASSES.labels("failed").inc()
        FAILURES.labels(error.reason.slug).inc()
        log.warning(
            "pass failed",
            generation=run.generation,
            slug=error.reason.slug,
            sentence=error.sentence,
            retry_in_s=round(verdict.retry_s, 2),
        )
        return await save_failure(
            self._store,
            run.claim,
            run.generation,
            reason=error.reason,
            retry_s=verdict.retry_s,
            as_error=verdict.as_error,
            history=run.history,
        )


def _is_news(run: Run) -> bool:
    """Say whether settling changes what anybody sees: a re-check that finds all well leaves no trace."""
    balancer = run.balancer
    settled = balancer.observed_generation == run.generation
    well = balancer.provisioning_status == ProvisioningStatus.ACTIVE and run.claim.failures == 0
    return bool(run.history) or not (settled and well)
