"""The steps of a plan, each done through a driver or written as a row. Every one may be repeated."""

import contextlib
import datetime as dt
from typing import assert_never

import msgspec

from statera.base.errors import Lasting, Transient
from statera.base.logging import get_logger
from statera.base.metrics import counter
from statera.control.observe import Observer
from statera.control.run import Run
from statera.control.surroundings import Surroundings
from statera.model.amphora import Amphora, AppliedConfiguration
from statera.model.enums import AmphoraStatus
from statera.model.statistics import Counted
from statera.plan.amphora import with_networks
from statera.plan.spares import is_spare
from statera.plan.spec import decide_sandbox_spec
from statera.plan.steps import (
    AddAmphora,
    AnyStep,
    CondemnAmphora,
    Configure,
    ConfirmAmphora,
    DropAmphora,
    DropLoadBalancer,
    EnsurePorts,
    EnsureSandbox,
    GiveUpAmphora,
    ReleasePorts,
    ReleaseVip,
    RemovePorts,
    RemoveSandbox,
    Settle,
    Wait,
)
from statera.store.amphorae import load_heartbeat_key, remove_amphora, save_amphora
from statera.store.deployment import load_deployment
from statera.store.drains import is_host_gone
from statera.store.failover import save_given_up
from statera.store.generations import load_newest_generation
from statera.store.spares import condemn_spare, take_spare
from statera.store.statistics import save_counted

log = get_logger("control")

GIVEN_UP = counter("statera_amphorae_given_up_total", "Amphorae replaced without being asked, by reason.", "slug")


class SpareTaken(Transient):
    """Another worker was faster, or it is none any more: a new plan finds another spare, or does without."""

    def __init__(self, amphora_id: str) -> None:
        super().__init__(
            "spare-taken", f"Spare amphora {amphora_id} is none any more: another has it, or its host lost it."
        )


class Actor:
    """Does what a plan says and notes what was done."""

    def __init__(self, around: Surroundings, observer: Observer) -> None:
        self._store = around.store
        self._network = around.network
        self._compute = around.compute
        self._observer = observer
        self._clock = around.clock
        self._deployment_id = ""

    async def act(self, run: Run, step: AnyStep) -> None:
        """Do one step. Raises what the drivers raise, `LostClaim`, and `Transient` for a `Wait`."""
        added = ""
        match step:
            case CondemnAmphora():
                await self._change(run, step.amphora_id, status=AmphoraStatus.PENDING_DELETE)
            case GiveUpAmphora():
                await self._give_up(run, step)
                run.note(step.sentence, self._clock.now(), step.reason)
                return
            case AddAmphora(is_spare=True):
                await self._take_spare(run, step.amphora)
            case AddAmphora():
                await self._save(run, step.amphora)
            case EnsurePorts():
                await self._ensure_ports(run, step)
            case EnsureSandbox():
                await self._ensure_sandbox(run, step)
            case Configure():
                added = _describe(await self._configure(run, step))
            case ConfirmAmphora():
                await self._change(run, step.amphora_id, status=AmphoraStatus.ALLOCATED, reason=None)
            case ReleasePorts():
                await self._release_ports(run, step)
            case RemoveSandbox():
                await self._keep_counted(run, step)
                await self._remove_sandbox(run, step)
            case RemovePorts():
                await self._network.remove_ports(step.amphora_id)
            case DropAmphora():
                await remove_amphora(self._store, run.claim, step.amphora_id)
                run.amphorae.pop(step.amphora_id, None)
                run.documents.clear()
            case ReleaseVip():
                await self._network.remove_ports(run.balancer.id)
            case Wait():
                raise Transient(step.reason.slug, step.reason.sentence)
            case Settle() | DropLoadBalancer():
                raise AssertionError("the end of a pass is not an action")
            case _:
                assert_never(step)
        run.note(f"{step.sentence}{added}", self._clock.now())

    async def _take_spare(self, run: Run, amphora: Amphora) -> None:
        """Take a spare that stands on its host: since the database's backup others may have taken it, or lost it."""
        if not is_spare(await self._compute.observe_amphora(amphora.host, amphora.id)):
            await condemn_spare(self._store, amphora.id)
            raise SpareTaken(amphora.id)
        if not await take_spare(self._store, run.claim, amphora):
            raise SpareTaken(amphora.id)
        run.amphorae[amphora.id] = amphora

    async def _give_up(self, run: Run, step: GiveUpAmphora) -> None:
        now = self._clock.now()
        reason = step.reason if step.reason.since else msgspec.structs.replace(step.reason, since=now)
        row = msgspec.structs.replace(
            run.amphorae[step.amphora_id], status=AmphoraStatus.ERROR, reason=reason, updated_at=now
        )
        await save_given_up(self._store, run.claim, row, self._observer.failover_limits)
        run.amphorae[row.id] = row
        GIVEN_UP.labels(reason.slug).inc()
        log.warning("amphora given up", amphora_id=row.id, host=row.host, slug=reason.slug, sentence=reason.sentence)

    async def _ensure_ports(self, run: Run, step: EnsurePorts) -> None:
        ports = [
            await self._network.ensure_amphora_port(step.amphora_id, wanted.network_id, wanted.subnet_ids)
            for wanted in step.ports
        ]
        # Those on networks that are not wanted any more stay until the configuration has left them.
        known = {port.network_id for port in ports}
        ports += [port for port in run.amphorae[step.amphora_id].ports if port.network_id not in known]
        await self._change(run, step.amphora_id, ports=tuple(ports))

    async def _ensure_sandbox(self, run: Run, step: EnsureSandbox) -> None:
        amphora = with_networks(run.amphorae[step.amphora_id], step.network_ids)
        limits = self._observer.limits
        rows = tuple(run.amphorae.values())
        sandbox = decide_sandbox_spec(run.tree, amphora, run.networks, limits, with_vips=step.with_vips, rows=rows)
        key = await load_heartbeat_key(self._store, amphora.id)
        if key is None:
            raise Transient("amphora-row-gone", f"Amphora {amphora.id} has no row any more.")
        await self._compute.ensure_amphora(
            amphora.host, sandbox, epoch=run.claim.epoch, heartbeat_key=key, deployment_id=await self._find_deployment()
        )

    async def _remove_sandbox(self, run: Run, step: RemoveSandbox) -> None:
        try:
            await self._compute.remove_amphora(
                step.host, step.amphora_id, epoch=run.claim.epoch, hands_over=step.hands_over
            )
        except (Transient, Lasting):
            if not await is_host_gone(self._store, step.host):
                raise

    async def _find_deployment(self) -> str:
        if not self._deployment_id:
            self._deployment_id = (await load_deployment(self._store)).id
        return self._deployment_id

    async def _configure(self, run: Run, step: Configure) -> AppliedConfiguration:
        amphora = run.amphorae[step.amphora_id]
        try:
            wanted = run.configure(await self._observer.render(run, amphora))
            return await self._compute.apply_configuration(amphora.host, amphora.id, wanted)
        except Lasting:
            if not run.is_served:
                await self._serve_last(run, amphora)
            raise

    async def _serve_last(self, run: Run, amphora: Amphora) -> None:
        """Bring what was live last to an amphora when nobody has anything live: a host that is lost while an edit is
        rejected must not take the traffic with it. What cannot be had is left out.
        """
        with contextlib.suppress(Transient, Lasting):
            last = await load_newest_generation(self._store, run.balancer.id)
            if last is None:
                return
            configuration = await self._observer.render_last(run, amphora, last)
            await self._compute.apply_configuration(amphora.host, amphora.id, configuration)
            generation = last.load_balancer.generation
            run.note(f"Amphora {amphora.id} serves generation {generation} meanwhile.", self._clock.now())

    async def _keep_counted(self, run: Run, step: RemoveSandbox) -> None:
        """Add up the traffic since the last heartbeat; what cannot be had is left out."""
        if run.balancer.deleting:
            return
        with contextlib.suppress(Transient, Lasting):
            metrics = await self._compute.observe_metrics(step.host, step.amphora_id)
            if metrics is not None and metrics.listeners:
                last = Counted(
                    amphora_id=step.amphora_id,
                    process=metrics.process,
                    # Later than any heartbeat, even by the clock of a host that is ahead.
                    told_at=self._clock.now() + dt.timedelta(seconds=self._observer.max_skew_s),
                    listeners=metrics.listeners,
                )
                await save_counted(self._store, [last])

    async def _release_ports(self, run: Run, step: ReleasePorts) -> None:
        await self._network.remove_ports(step.amphora_id, keep=step.keep_networks)
        kept = with_networks(run.amphorae[step.amphora_id], step.keep_networks)
        await self._change(run, step.amphora_id, ports=kept.ports)

    async def _change(self, run: Run, amphora_id: str, **values: object) -> None:
        row = run.amphorae[amphora_id]
        await self._save(run, msgspec.structs.replace(row, updated_at=self._clock.now(), **values))

    async def _save(self, run: Run, amphora: Amphora) -> None:
        await save_amphora(self._store, run.claim, amphora)
        run.amphorae[amphora.id] = amphora
        # What the others should have tells of this one, too.
        run.documents.clear()


def _describe(applied: AppliedConfiguration) -> str:
    match applied.means:
        case "unchanged":
            return " It was live already."
        case "runtime":
            return " Changed while running, without a reload."
        case _:
            return f" Reloaded: {applied.why.rstrip('.')}." if applied.why else " Reloaded."
