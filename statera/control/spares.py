"""The chore that keeps the pool of spare amphorae: what was taken is built again, what is too many goes."""

import asyncio

from statera.base.errors import LostClaim, StateraError
from statera.base.ids import new_id
from statera.base.logging import get_logger
from statera.control.draining import mark_draining
from statera.control.surroundings import Surroundings
from statera.model.amphora import Spare
from statera.model.network import Network
from statera.plan.spares import choose_home, decide_spare_sandbox, decide_spares, is_spare
from statera.store.amphorae import count_placed
from statera.store.deployment import load_deployment
from statera.store.drains import is_host_gone, list_drains
from statera.store.spares import add_spare, condemn_spare, confirm_spare, drop_spare, list_spares, load_spare_key

log = get_logger("control")

SPARE_EPOCH = 0
"""Below that of every claim."""
REMOVAL_EPOCH = SPARE_EPOCH + 1
"""A request to build it that comes late, or twice, builds it no more."""
AT_ONCE = 4


class SparePool:
    """Keeps `compute.spares_per_host` spares on each host. The row comes before the sandbox and goes after it."""

    def __init__(self, around: Surroundings) -> None:
        self._store = around.store
        self._network = around.network
        self._compute = around.compute
        self._clock = around.clock
        self._per_host = around.settings.compute.spares_per_host
        self._home_name = around.settings.compute.spares_network
        self._limits = around.limits
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def refill(self) -> None:
        """Bring the pool to what it should be, as far as hosts answer. Raises `Transient`."""
        spares = await list_spares(self._store)
        if not spares and not self._per_host:
            return
        drained = {drain.host for drain in await list_drains(self._store)}
        hosts = mark_draining(await self._compute.observe_hosts(), drained)
        moves = decide_spares(hosts, spares, await count_placed(self._store), per_host=self._per_host)
        deployment = await load_deployment(self._store)
        fresh = [Spare(id=new_id(), host=host) for host in moves.add]
        for spare in fresh:
            await add_spare(self._store, spare.id, spare.host)
        home = choose_home(await self._network.observe_networks(), self._home_name)
        work = [self._build(spare, home, deployment.id) for spare in (*moves.build, *fresh)]
        await asyncio.gather(*work, *(self._remove(spare) for spare in moves.remove))

    async def drop_lost(self) -> None:
        """Condemn spares that a host has lost, with its power say: others take their place. Raises `Transient`.

        One that a load balancer has taken since the database's backup is none either, as its host knows.
        """
        ready = [spare for spare in await list_spares(self._store) if spare.is_ready]
        await asyncio.gather(*(self._drop_if_lost(spare) for spare in ready))

    async def _drop_if_lost(self, spare: Spare) -> None:
        async with self._gate:
            try:
                seen = await self._compute.observe_amphora(spare.host, spare.id)
            except StateraError:
                # A host that does not answer has lost nothing as far as anybody knows.
                return
            if not is_spare(seen):
                log.info("spare lost", host=spare.host, amphora_id=spare.id)
                await condemn_spare(self._store, spare.id)

    async def _build(self, spare: Spare, home: Network | None, deployment_id: str) -> None:
        key = await load_spare_key(self._store, spare.id)
        if key is None:
            return
        sandbox = decide_spare_sandbox(spare.id, home, self._limits)
        async with self._gate:
            try:
                await self._compute.ensure_amphora(
                    spare.host, sandbox, epoch=SPARE_EPOCH, heartbeat_key=key, deployment_id=deployment_id
                )
            except LostClaim:
                # It was removed, or taken, before the database went back to an older state: another takes its place.
                await condemn_spare(self._store, spare.id)
            except StateraError as error:
                # The next time the row is still there, and unfinished.
                log.warning("spare not built", host=spare.host, slug=error.reason.slug, sentence=error.sentence)
            else:
                await confirm_spare(self._store, spare.id)

    async def _remove(self, spare: Spare) -> None:
        if not await condemn_spare(self._store, spare.id):
            return
        async with self._gate:
            try:
                seen = await self._compute.observe_amphora(spare.host, spare.id)
                # One that serves by now is an orphan without its row, and waits for the operator with the others.
                if seen is None or not seen.load_balancer_id:
                    await self._compute.remove_amphora(spare.host, spare.id, epoch=REMOVAL_EPOCH)
            except StateraError as error:
                if not await is_host_gone(self._store, spare.host):
                    log.warning("spare not removed", host=spare.host, slug=error.reason.slug, sentence=error.sentence)
                    return
            await drop_spare(self._store, spare.id)
