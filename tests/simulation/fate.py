"""What befalls machines and the database by itself, beside the faults of single calls."""

import asyncio
from typing import TYPE_CHECKING

from tests.simulation.faults import Faults

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

REBUILDS = 0.5
"""Chance that what a host had comes back with its power; else its disk was lost, too."""
OUTAGE_S = (1.0, 20.0)
CONNECTS_S = 5.0
"""How long whoever asks a database waits whose machine is away: `connect_timeout` of `statera/store/engine.py`."""
RECONNECTS_S = 6.0
"""How long a worker hears no bell after that: it connects again a second later, and that may take as long."""


class Fate:
    """Hurts the world until the faults are over. Chance has it that each kind comes, if the seed has it at all."""

    def __init__(self, world: "Simulation") -> None:
        self._world = world
        self._faults: Faults = world.faults

    async def run(self) -> None:
        """End once everything that it took away is back."""
        await asyncio.gather(self._disturb_hosts(), self._take_database(), self._world.agents.disturb_members())

    async def _disturb_hosts(self) -> None:
        """Cut hosts off, and take their power away."""
        faults, rng, story = self._faults, self._world.rng, self._world.story
        while not faults.over:
            await asyncio.sleep(faults.draw_s(5.0, 40.0))
            host = self._world.hosts.hosts[rng.choice(sorted(self._world.hosts.hosts))]
            if host.is_lost or rng.random() < 0.5:
                continue
            seconds = faults.draw_s(1.0, 60.0)
            what = rng.choice(("loses power", "is cut off", "has no agent", "has no agent"))
            story.tell(host.name, f"{what} for {seconds:.1f} s")
            host.is_cut_off, host.has_agent = what != "has no agent", what != "has no agent"
            if what == "loses power":
                host.lose_power()
            await asyncio.sleep(seconds)
            if host.is_lost:
                continue
            host.come_back(with_disk=rng.random() < REBUILDS)
            story.tell(host.name, f"is back with {len(host.sandboxes)} sandboxes")

    async def _take_database(self) -> None:
        """Have the database away, refusing or silent: no statement is answered, and no bell rings for a while."""
        faults, database = self._faults, self._world.database
        while not faults.over:
            await asyncio.sleep(faults.draw_s(10.0, 60.0))
            if not faults.comes("database-away", 0.7):
                continue
            seconds, is_silent = faults.draw_s(*OUTAGE_S), self._world.rng.random() < 0.5
            self._world.story.tell("the database", f"{'is silent' if is_silent else 'refuses'} for {seconds:.1f} s")
            waits_s = CONNECTS_S if is_silent else 0.0
            self._world.note_all_disturbed(seconds + waits_s)
            database.leave(waits_s)
            await asyncio.sleep(seconds)
            database.come_back(deaf_s=faults.draw_s(0.0, RECONNECTS_S))
            self._world.story.tell("the database", "is back")
