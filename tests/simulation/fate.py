"""What befalls machines and the database by itself, beside the faults of single calls."""

import asyncio
from typing import TYPE_CHECKING

from statera.base.settings import HealthSettings
from tests.simulation.backup import Backup
from tests.simulation.faults import Faults
from tests.simulation.outside import LASTING_S

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

REBUILDS = 0.5
"""Chance that what a host had comes back with its power; else its disk was lost, too."""
RESTORES = 0.3
APART_S = HealthSettings().max_skew_s
"""Clocks of processes may differ by that."""
DATABASE_JUMPS_S = ((1.0, 90.0), (-10.0, -1.0))
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
        own = (self._disturb_hosts(), self._take_database(), self._restore_database(), self._turn_clocks())
        await asyncio.gather(*own, self._world.agents.disturb_members(), self._world.vault.disturb())

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

    async def _turn_clocks(self) -> None:
        """Have clocks jump: those of processes within what they may differ, the database's to where it likes.

        Leases and all that is due are by the database's clock alone.
        """
        faults, world = self._faults, self._world
        while not faults.over:
            await asyncio.sleep(faults.draw_s(10.0, 40.0))
            if faults.comes("clock-jumps", 0.7):
                process = world.rng.choice(world.processes)
                skew_s = faults.draw_s(-APART_S / 2, APART_S / 2)
                world.story.tell(process.name, f"has a clock that is {skew_s:.1f} s ahead")
                process.turn_clock(skew_s)
            if faults.comes("database-clock-jumps", 0.5):
                jump_s = faults.draw_s(*world.rng.choice(DATABASE_JUMPS_S))
                world.story.tell("the database", f"has a clock that jumps by {jump_s:.1f} s")
                world.database_ahead_s += jump_s
                # Back: whatever is due, and whatever a lease keeps from others, is so much later.
                world.note_all_disturbed(max(0.0, -jump_s))

    async def _restore_database(self) -> None:
        """Have the database go back to a backup, once at most: not all that must hold does beside what it left."""
        faults, story = self._faults, self._world.story
        await asyncio.sleep(faults.draw_s(20.0, 80.0))
        if not faults.comes("database-restored", RESTORES):
            return
        backup = Backup(self._world)
        story.tell("the database", "is backed up")
        await asyncio.sleep(faults.draw_s(5.0, 60.0))
        backup.restore(self._world)
        story.tell("the database", "is restored from its backup")
        self._world.note_all_disturbed(LASTING_S)
