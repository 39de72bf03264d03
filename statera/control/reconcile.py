"""One pass over one load balancer: a snapshot of generation G, what is observed, a plan, its steps, and the end of it.

A pass never undoes anything. When it fails, the next one plans from what is there then. All that it writes is conditional
on the epoch of its claim, and the agents refuse older epochs, so a worker that comes back late can do no harm.
"""

import random
from collections.abc import Mapping
from typing import assert_never

import msgspec

from statera.base.clock import Clock
from statera.base.errors import Lasting, StateraError, Transient
from statera.base.ids import new_id
from statera.base.logging import get_logger
from statera.base.reason import Reason
from statera.base.settings import Settings
from statera.model.amphora import Amphora, AppliedConfiguration, Host
from statera.model.document import Document
from statera.model.enums import AmphoraStatus
from statera.model.network import Network
from statera.model.ports import ComputeDriver, NetworkDriver
from statera.model.spec import Configuration
from statera.model.work import Claim, Event, Snapshot
from statera.plan.backoff import decide_failure
from statera.plan.plan import (
    AddAmphora,
    Configure,
    DropAmphora,
    DropLoadBalancer,
    EnsurePorts,
    EnsureSandbox,
    RemovePorts,
    RemoveSandbox,
    Settle,
    Sighting,
    Step,
    Unknown,
    Wait,
    World,
    decide_plan,
)
from statera.plan.spec import decide_amphora_spec, decide_limits, decide_sandbox_spec
from statera.render.engine import haproxy_capabilities
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS
from statera.store.amphorae import load_heartbeat_key, remove_amphora, save_amphora
from statera.store.claims import load_snapshot, remove_load_balancer, save_failure, save_settled
from statera.store.engine import Store
from statera.store.events import add_event

log = get_logger("control")


class Reconciler:
    """Runs passes. Holds nothing between them but what hosts said of themselves last."""

    def __init__(
        self, store: Store, network: NetworkDriver, compute: ComputeDriver, settings: Settings, clock: Clock
    ) -> None:
        self._store = store
        self._network = network
        self._compute = compute
        self._settings = settings
        self._clock = clock
        self._limits = decide_limits(
            memory_mib=settings.compute.memory_mib,
            file_descriptors=settings.compute.file_descriptors,
            cpu_percent=settings.compute.cpu_percent,
        )
        self._hosts: tuple[Host, ...] = ()

    async def run_pass(self, claim: Claim) -> bool:
        """Carry out one pass and settle it or record its failure; return whether more work waits.

        Raises `LostClaim` when another worker took over, `Transient` when the database is down.
        """
        snapshot = await load_snapshot(self._store, claim)
        if snapshot is None:
            return False
        try:
            return await self._converge(claim, snapshot)
        except (Transient, Lasting) as error:
            if error.reason.slug == "database-unavailable":
                raise
            await self._record_failure(claim, snapshot, error)
            return False

    async def record_fault(self, claim: Claim, error: Exception) -> None:
        """Show a fault of our own on the object; the log has the details. Raises `LostClaim`, `Transient`."""
        snapshot = await load_snapshot(self._store, claim)
        if snapshot is not None:
            sentence = f"Statera itself failed ({type(error).__name__}); it tries again."
            await self._record_failure(claim, snapshot, Transient("internal-fault", sentence))

    async def _converge(self, claim: Claim, snapshot: Snapshot) -> bool:
        run = _Pass(claim, snapshot, await self._network.observe_networks())
        world = await self._observe(run)
        for step in decide_plan(world).steps:
            if isinstance(step, Settle):
                return await self._settle(run)
            await self._act(run, step)
        return False

    async def _observe(self, run: "_Pass") -> World:
        needs_host = not run.amphorae and not run.snapshot.tree.load_balancer.deleting
        if needs_host or not self._hosts:
            self._hosts = await self._compute.observe_hosts()
        sightings: dict[str, Sighting] = {}
        digests: dict[str, str] = {}
        for amphora in run.amphorae.values():
            sightings[amphora.id] = await self._look(amphora)
            digests[amphora.id] = self._render(run, amphora).digest()
        return World(
            tree=run.snapshot.tree,
            amphorae=tuple(run.amphorae.values()),
            hosts=self._hosts,
            sightings=sightings,
            networks=run.networks,
            limits=self._limits,
            wanted_digests=digests,
            fresh_ids=(new_id(), new_id()),
            now=self._clock.now(),
        )

    async def _look(self, amphora: Amphora) -> Sighting:
        try:
            return await self._compute.observe_amphora(amphora.host, amphora.id)
        except Transient as error:
            return Unknown(error.reason)

    def _render(self, run: "_Pass", amphora: Amphora) -> Document:
        if amphora.id not in run.documents:
            spec = decide_amphora_spec(run.snapshot.tree, amphora.id, self._limits)
            versions: Mapping[str, str] = next((h.engine_versions for h in self._hosts if h.name == amphora.host), {})
            engine = haproxy_capabilities(versions.get("haproxy", ""))
            run.documents[amphora.id] = render_haproxy(spec, engine, SANDBOX_PATHS)
        return run.documents[amphora.id]

    async def _act(self, run: "_Pass", step: Step) -> None:
        match step:
            case AddAmphora(amphora):
                await self._save(run, amphora)
            case EnsurePorts(amphora_id, networks):
                await self._ensure_ports(run, amphora_id, networks)
            case EnsureSandbox(amphora_id, why):
                await self._ensure_sandbox(run, amphora_id, why)
            case Configure(amphora_id, why):
                await self._configure(run, amphora_id, why)
            case RemoveSandbox(amphora_id, host):
                await self._compute.remove_amphora(host, amphora_id, epoch=run.claim.epoch)
            case RemovePorts(device_id, keep):
                await self._network.remove_ports(device_id, keep=keep)
            case DropAmphora(amphora_id):
                await remove_amphora(self._store, run.claim, amphora_id)
                run.amphorae.pop(amphora_id, None)
            case DropLoadBalancer():
                await remove_load_balancer(self._store, run.claim)
                log.info("load balancer removed", load_balancer=run.claim.load_balancer_id)
            case Wait(reason):
                raise Transient(reason.slug, reason.sentence)
            case Settle():
                raise AssertionError("settling is not an action")
            case _:
                assert_never(step)

    async def _ensure_ports(
        self, run: "_Pass", amphora_id: str, networks: tuple[tuple[str, tuple[str, ...]], ...]
    ) -> None:
        ports = [await self._network.ensure_amphora_port(amphora_id, network, subnets) for network, subnets in networks]
        await self._save(run, msgspec.structs.replace(run.amphorae[amphora_id], ports=tuple(ports)))

    async def _ensure_sandbox(self, run: "_Pass", amphora_id: str, why: str) -> None:
        amphora = run.amphorae[amphora_id]
        sandbox = decide_sandbox_spec(run.snapshot.tree, amphora, run.networks, self._limits)
        key = await load_heartbeat_key(self._store, amphora_id)
        if key is None:
            raise Transient("amphora-row-gone", f"Amphora {amphora_id} has no row any more.")
        await self._compute.ensure_amphora(amphora.host, sandbox, epoch=run.claim.epoch, heartbeat_key=key)
        await self._note(run, f"Built amphora {amphora_id} on host {amphora.host}: {why}")

    async def _configure(self, run: "_Pass", amphora_id: str, why: str) -> None:
        amphora = run.amphorae[amphora_id]
        document = self._render(run, amphora)
        wanted = Configuration(generation=run.generation, epoch=run.claim.epoch, haproxy=document)
        applied = await self._compute.apply_configuration(amphora.host, amphora_id, wanted)
        await self._note(run, _describe_applied(applied, why))
        if amphora.status != AmphoraStatus.ALLOCATED:
            await self._save(run, msgspec.structs.replace(amphora, status=AmphoraStatus.ALLOCATED, reason=None))

    async def _save(self, run: "_Pass", amphora: Amphora) -> None:
        await save_amphora(self._store, run.claim, amphora)
        run.amphorae[amphora.id] = amphora

    async def _settle(self, run: "_Pass") -> bool:
        recheck = self._settings.reconcile.recheck_s * (0.75 + random.random() / 2)
        more = await save_settled(self._store, run.claim, run.generation, recheck_s=recheck)
        if run.snapshot.tree.load_balancer.observed_generation != run.generation:
            log.info("settled", load_balancer=run.claim.load_balancer_id, generation=run.generation, more=more)
        return more

    async def _record_failure(self, claim: Claim, snapshot: Snapshot, error: StateraError) -> None:
        options = self._settings.reconcile
        balancer = snapshot.tree.load_balancer
        verdict = decide_failure(
            error,
            failures=claim.failures,
            failing_since=claim.failing_since,
            now=self._clock.now(),
            generation=balancer.generation,
            error_after_s=options.error_after_s,
            first_s=options.backoff_first_s,
            most_s=options.backoff_most_s,
            chance=random.random(),
        )
        log.warning(
            "pass failed",
            load_balancer=claim.load_balancer_id,
            generation=balancer.generation,
            slug=error.reason.slug,
            sentence=error.sentence,
            retry_in_s=round(verdict.retry_s, 2),
        )
        await save_failure(
            self._store,
            claim,
            balancer.generation,
            reason=verdict.reason,
            retry_s=verdict.retry_s,
            as_error=verdict.as_error,
        )
        if claim.failures == 0 or (verdict.as_error and balancer.provisioning_status != "ERROR"):
            what = "Cannot be applied as it is" if verdict.as_error else "Not applied yet, trying again"
            await self._add_event(claim, balancer.generation, what, verdict.reason)

    async def _note(self, run: "_Pass", what: str) -> None:
        await self._add_event(run.claim, run.generation, what, None)

    async def _add_event(self, claim: Claim, generation: int, what: str, reason: Reason | None) -> None:
        event = Event(
            load_balancer_id=claim.load_balancer_id,
            generation=generation,
            what=what,
            reason=reason,
            at=self._clock.now(),
            actor=claim.owner,
        )
        await add_event(self._store, event)


class _Pass:
    """What one pass carries along: the snapshot, the amphora rows as they are now, the rendered documents."""

    def __init__(self, claim: Claim, snapshot: Snapshot, networks: tuple[Network, ...]) -> None:
        self.claim = claim
        self.snapshot = snapshot
        self.networks = networks
        self.amphorae: dict[str, Amphora] = {amphora.id: amphora for amphora in snapshot.amphorae}
        self.documents: dict[str, Document] = {}

    @property
    def generation(self) -> int:
        return self.snapshot.tree.load_balancer.generation


def _describe_applied(applied: AppliedConfiguration, why: str) -> str:
    match applied.means:
        case "unchanged":
            return "Configuration was live already"
        case "runtime":
            return "Changed the running HAProxy, no reload"
        case _:
            return f"Reloaded HAProxy: {applied.why or why}"
