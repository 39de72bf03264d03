"""The sweep of orphans: what carries an id that the database does not know is collected after its grace.

A database that was set back, by a backup or a copy, knows less than its hosts. Each sweep raises a mark in the database
and leaves it with the hosts; a host that remembers a higher one tells on the database. Then nothing is collected until
an operator says so (`statera orphans`). docs/design/orphans.md says more.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime

import msgspec

from statera.base.errors import Lasting, StateraError, Transient
from statera.base.logging import get_logger
from statera.base.metrics import gauge
from statera.control.surroundings import Surroundings
from statera.model.amphora import AmphoraObserved
from statera.model.deployment import Deployment, is_credible
from statera.model.ports import ComputeDriver
from statera.plan.orphans import Orphan, OrphanPorts, OrphanSandbox, decide_orphans, is_foreign
from statera.store.chores import list_known_ids
from statera.store.deployment import advance_mark, hold_collection, load_deployment, release_collection
from statera.store.engine import Store

log = get_logger("control")

FOREIGN = gauge("statera_foreign_sandboxes", "Sandboxes on our hosts that another deployment made.")
UNKNOWN = gauge("statera_unknown_sandboxes", "Sandboxes and ports of ours that the database does not know.")
HELD = gauge("statera_orphans_held", "1 while nothing is collected, because the database was set back.")


class Stray(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox that the database does not know."""

    host: str
    amphora: AmphoraObserved
    is_foreign: bool


class Sweeper:
    """Finds and collects orphans."""

    def __init__(self, around: Surroundings) -> None:
        self._store = around.store
        self._network = around.network
        self._compute = around.compute
        self._clock = around.clock
        self._grace_s = around.settings.reconcile.orphan_grace_s

    async def sweep(self, unknown_since: Mapping[str, datetime]) -> Mapping[str, datetime]:
        """Collect sandboxes and ports of ours whose id nobody has known for the grace.

        Returns since when each unknown id has been seen. Raises `Lasting` (slug `database-set-back`) while it is held.
        """
        deployment = await advance_mark(self._store)
        sandboxes = await self._look(deployment)
        ports = await self._network.observe_ports()
        # Only now: whoever makes something writes its id here first.
        known = await list_known_ids(self._store)
        sweep = decide_orphans(
            known,
            sandboxes,
            ports,
            unknown_since,
            now=self._clock.now(),
            grace_s=self._grace_s,
            deployment_id=deployment.id,
        )
        FOREIGN.set(sweep.foreign)
        UNKNOWN.set(len(sweep.unknown_since))
        await self._refuse_held()
        for orphan in sweep.collect:
            await self._collect(orphan)
        return sweep.unknown_since

    async def _look(self, deployment: Deployment) -> dict[str, tuple[AmphoraObserved, ...]]:
        """Return what the hosts have that answer; notice when one has seen a newer database."""
        hosts = [host.name for host in await self._compute.observe_hosts() if host.reachable]
        found = await asyncio.gather(*(self._look_at(host, deployment) for host in hosts))
        seen = max((mark for mark, _ in found), default=0)
        if seen >= deployment.mark and await hold_collection(self._store, seen):
            log.error("the database was set back: nothing is collected", mark=deployment.mark, seen=seen)
        return {host: boxes for host, (_, boxes) in zip(hosts, found, strict=True)}

    async def _look_at(self, host: str, deployment: Deployment) -> tuple[int, tuple[AmphoraObserved, ...]]:
        try:
            seen = await self._compute.mark_host(host, deployment.id, deployment.mark)
            if not is_credible(seen, deployment.mark):
                sentence = f"The agent of host {host} remembers a mark that no database has come to."
                raise Transient("agent-garbled", sentence)
            return seen, await self._compute.observe_amphorae(host)
        except (Transient, Lasting) as error:
            # One that could not tell what it remembers loses nothing.
            log.info("host not swept", host=host, slug=error.reason.slug, sentence=error.sentence)
            return 0, ()

    async def _refuse_held(self) -> None:
        held_since = (await load_deployment(self._store)).held_since
        HELD.set(held_since is not None)
        if held_since is not None:
            sentence = (
                f"Since {held_since:%Y-%m-%d %H:%M:%S} nothing that the database does not know is collected: a host "
                "has seen a newer state of this database. See `statera orphans list`."
            )
            raise Lasting("database-set-back", sentence)

    async def _collect(self, orphan: Orphan) -> None:
        log.info("orphan collected", **msgspec.structs.asdict(orphan))
        try:
            match orphan:
                case OrphanSandbox():
                    await self._compute.remove_amphora(orphan.host, orphan.amphora_id, epoch=orphan.epoch)
                case OrphanPorts():
                    await self._network.remove_ports(orphan.device_id)
        except StateraError as error:
            # It is still an orphan the next time.
            log.warning("orphan not collected", slug=error.reason.slug, sentence=error.sentence)


async def list_strays(store: Store, compute: ComputeDriver) -> list[Stray]:
    """Return the sandboxes on hosts that answer which the database does not know, whoever made them."""
    deployment = await load_deployment(store)
    hosts = [host.name for host in await compute.observe_hosts() if host.reachable]
    found = [(host, box) for host in hosts for box in await compute.observe_amphorae(host)]
    known = await list_known_ids(store)
    return [
        Stray(host=host, amphora=box, is_foreign=is_foreign(box, deployment.id))
        for host, box in found
        if box.id not in known or is_foreign(box, deployment.id)
    ]


async def collect_strays(store: Store, compute: ComputeDriver, *, foreign: bool) -> list[Stray]:
    """Remove the strays that are ours, with `foreign` the others too, and let the sweep go on. Return what was removed.

    Raises `Transient` for a host that stops answering; what is left can be asked for again.
    """
    chosen = [stray for stray in await list_strays(store, compute) if foreign or not stray.is_foreign]
    for stray in chosen:
        await compute.remove_amphora(stray.host, stray.amphora.id, epoch=stray.amphora.epoch)
    await release_collection(store)
    return chosen
