"""The health processes: the real service, which hears what arrives, and a witness who looks at what it makes of it."""

import asyncio
import contextlib
import datetime as dt
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

from statera.health.memory import Memory
from statera.health.receiver import HeartbeatReceiver
from statera.health.service import serve
from statera.model.heartbeat import Heartbeat
from statera.model.observed import Observed
from tests.simulation.heartbeats import Agents, Ear
from tests.simulation.processes import Process
from tests.simulation.story import Story, tell_time
from tests.simulation.twins import TwinStore

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

LISTENING_S = 3.0
STALE_S = 30.0
"""Until a process knows what it has missed: `health.stale_after_s`, a look of the judge, and some heartbeats."""
RHYTHMS = {"FLUSH_S": 2.0, "COUNT_S": 20.0, "CERTIFICATES_S": 20.0, "TELL_S": 60.0}
"""Slower than in the product, whose tasks have mostly nothing to do: that takes most of the time to play."""
LOGS = tuple(f"statera.health.{room}.log" for room in ("service", "writer", "receiver"))


class Witness:
    """What one life of a health process has taken in, as the agents know it."""

    def __init__(self, agents: Agents, process: Process) -> None:
        self._process = process
        self._story = process.story
        self._agents = agents
        self._newest: dict[str, int] = {}
        self._parts: dict[str, set[int]] = {}
        self._whole: dict[str, int] = {}
        """By amphora: the number of the heartbeat of which all parts came in last."""
        self._whole_at: dict[str, float] = {}
        """When they had, which may be long after it was said."""

    def note_accepted(self, part: Heartbeat) -> None:
        """Take in what was accepted: never what was said before something that was accepted."""
        told = self._agents.told.get((part.amphora_id, part.boot, part.sequence))
        if told is None:
            # Whoever does not know yet who belongs to whom may listen to what is forged, and not act on it.
            return
        number = told.number
        newest = self._newest.get(part.amphora_id, -1)
        seen = self._parts.setdefault(part.amphora_id, set())
        if number < newest or (number == newest and part.part in seen):
            wrong = f"number {number} of {part.amphora_id} is taken in after number {newest}"
            self._story.mark_broken(AssertionError(f"health goes back in time: {wrong}"))
        if number > newest:
            self._newest[part.amphora_id] = number
            seen.clear()
        seen.add(part.part)
        if len(seen) == part.parts:
            self._whole[part.amphora_id] = number
            self._whole_at[part.amphora_id] = tell_time()
            self._agents.heard[part.amphora_id] = max(number, self._agents.heard.get(part.amphora_id, -1))

    def note_forgotten(self, amphora_id: str) -> None:
        """Take in that the memory has forgotten an amphora, which may be heard anew.

        A restored database did not know it yet; or it told of another load balancer before its own was known.
        """
        counts = self._process.faults.counts
        if counts["database-restored"] or counts["heartbeat-forged"]:
            self._newest.pop(amphora_id, None)
            self._parts.pop(amphora_id, None)

    def check_spoken(self, load_balancer_id: str, spoken: Iterable[Heartbeat]) -> None:
        """Statuses come from the last words of the load balancer's own amphorae, and from nothing else."""
        for one in spoken:
            told = self._agents.told.get((one.amphora_id, one.boot, one.sequence))
            is_own = told is not None and told.heartbeat.load_balancer_id == load_balancer_id
            if told is None or not is_own or told.number != self._whole[one.amphora_id]:
                wrong = f"{load_balancer_id} is judged by what none of its amphorae said last: {one}"
                self._story.mark_broken(AssertionError(wrong))
            elif told.number < self._agents.heard[one.amphora_id]:
                self._check_age(load_balancer_id, self._whole_at[one.amphora_id])

    def _check_age(self, load_balancer_id: str, heard_at: float) -> None:
        """Who has missed what another one has heard is not to judge by what he heard long ago."""
        # While a fault works on a process it may not notice how late it is.
        age_s = tell_time() - max(heard_at, self._process.disturbed_until)
        if age_s > STALE_S:
            wrong = f"{load_balancer_id} is judged by what was heard {age_s:.0f} s ago, and others heard more"
            self._story.mark_broken(AssertionError(wrong))


class WitnessedMemory(Memory):
    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness

    def accept(self, heartbeat: Heartbeat, now: dt.datetime) -> None:
        super().accept(heartbeat, now)
        self._witness.note_accepted(heartbeat)

    def _forget(self, amphora_id: str, load_balancer_id: str) -> None:
        super()._forget(amphora_id, load_balancer_id)
        self._witness.note_forgotten(amphora_id)

    def observe(self, load_balancer_id: str) -> Observed:
        self._witness.check_spoken(load_balancer_id, self._list_spoken(load_balancer_id))
        return super().observe(load_balancer_id)


class SimReceiver(HeartbeatReceiver):
    """The real receiver, without a socket."""

    async def load_keys(self) -> None:
        await self._load_keys()


class Never(asyncio.Event):
    """Is never set. Whoever waits for it needs no task of his own, which would be most of the work there is."""

    def wait(self) -> "asyncio.Future[Literal[True]]":  # type: ignore[override]
        return asyncio.get_running_loop().create_future()


async def be_health(process: Process, world: "Simulation", ear: Ear) -> None:
    """Be the real health process, for one life."""
    store: Any = TwinStore(world.database, process)
    receiver = SimReceiver(store, world.settings, process)
    receiver.memory = WitnessedMemory(Witness(world.agents, process))
    ear.receiver = receiver
    async with asyncio.TaskGroup() as group:
        group.create_task(receiver.load_keys())
        group.create_task(_listen(process))
        group.create_task(serve(store, world.settings, process, receiver, Never()))


async def _listen(process: Process) -> None:
    while True:
        await asyncio.sleep(LISTENING_S)
        await process.point("listening")


class Complaints:
    """A log in which nothing may be found that the health process did not expect."""

    def __init__(self, find_story: Callable[[], Story]) -> None:
        self._find_story = find_story

    def exception(self, event: str, **about: object) -> None:
        told = f"the health process is surprised: {event} {about} {sys.exception()!r}"
        self._find_story().mark_broken(AssertionError(told))

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@contextlib.contextmanager
def health_observed(find_story: Callable[[], Story]) -> Iterator[None]:
    """Have health work more slowly, and a fault of its own, after which its loops go on, break the run."""
    with contextlib.ExitStack() as stack:
        for log in LOGS:
            stack.enter_context(mock.patch(log, Complaints(find_story)))
        for name, seconds in RHYTHMS.items():
            stack.enter_context(mock.patch(f"statera.health.service.{name}", seconds))
        yield
