"""The operator: drains hosts, gives lost ones up, and lets orphans go when workers hold them."""

import asyncio
from typing import TYPE_CHECKING, Any

from statera.base.errors import StateraError
from statera.control.sweep import collect_strays
from tests.simulation.outside import SimCompute
from tests.simulation.processes import Process
from tests.simulation.twins import TwinStore

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

LOOKS_S = (2.0, 10.0)
BEGINS, ENDS = 0.1, 0.25
"""Chances, each time he looks, that a host is drained, and that one which is takes amphorae again."""
FORGETS = 0.6
"""Chance that one which does not answer is given up."""
NEVER_BACK = 0.5
"""Chance that he is right for good."""


class Operator:
    """No host stays drained at the end, but one that never comes back."""

    def __init__(self, world: "Simulation", process: Process) -> None:
        self._world = world
        self._process = process
        self._store = TwinStore(world.database, process)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._world.faults.draw_s(*LOOKS_S))
            try:
                await self._end_drains()
                if not self._world.faults.over:
                    await self._begin_drain()
                await self._forget()
                await self._collect()
            except StateraError as error:
                self._tell(f"is refused: {error.reason.slug}")

    async def _end_drains(self) -> None:
        world = self._world
        for drain in await self._store.call("list_drains"):
            is_wanted = world.faults.over or world.rng.random() < ENDS
            if is_wanted and not (drain.is_gone and world.hosts.hosts[drain.host].is_cut_off):
                self._tell(f"lets {drain.host} take amphorae again")
                await self._store.call("remove_drain", drain.host)

    async def _begin_drain(self) -> None:
        if self._world.rng.random() < BEGINS:
            host = self._world.rng.choice(sorted(self._world.hosts.hosts))
            self._tell(f"drains {host}")
            await self._store.call("add_drain", host, "operator")

    async def _forget(self) -> None:
        """Give up a host that gives no sign of life. He may be wrong: it may come back, with all that it had."""
        hosts = self._world.hosts.hosts
        known = {drain.host for drain in await self._store.call("list_drains") if drain.is_gone}
        for host in hosts.values():
            if not host.is_cut_off or host.name in known:
                continue
            if not host.is_lost and self._world.faults.comes("host-forgotten", FORGETS):
                others_live = not any(other.is_lost for other in hosts.values())
                host.is_lost = others_live and self._world.rng.random() < NEVER_BACK
            elif not host.is_lost:
                continue
            self._tell(f"gives up {host.name}{', which never comes back' if host.is_lost else ''}")
            await self._store.call("forget_host", host.name, "operator")

    async def _collect(self) -> None:
        """Do as `statera orphans collect` does, where the database has been set back."""
        if (await self._store.call("load_deployment")).held_since is None:
            return
        store: Any = self._store
        compute: Any = SimCompute(self._world.hosts, self._process, self._world.story)
        strays = await collect_strays(store, compute, foreign=False)
        self._tell(f"lets go {[stray.amphora.id[:8] for stray in strays]}")

    def _tell(self, what: str) -> None:
        self._world.story.tell(self._process.name, what)
