"""Puts the database in memory in the place of `statera.store`, in the rooms that the simulation runs."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar

import statera.control.act
import statera.control.census
import statera.control.chores
import statera.control.draining
import statera.control.observe
import statera.control.reconcile
import statera.control.spares
import statera.control.sweep
import statera.control.worker
import statera.health.judge
import statera.health.keys
import statera.health.writer
from statera.base.errors import Transient
from statera.model.drafts import Decide
from statera.model.work import Claim
from statera.store.census import Census
from tests.simulation.database import Database
from tests.simulation.faults import Faults
from tests.simulation.processes import Process

ROOMS: tuple[ModuleType, ...] = (
    statera.control.act,
    statera.control.census,
    statera.control.chores,
    statera.control.draining,
    statera.control.observe,
    statera.control.reconcile,
    statera.control.spares,
    statera.control.sweep,
    statera.control.worker,
    statera.health.judge,
    statera.health.keys,
    statera.health.writer,
)
NOT_FOLLOWED = ("save_counted", "trim_events", "trim_failovers")
"""What they write decides nothing."""
IDLE_WHEN_EMPTY = ("save_counted", "save_holders", "save_statuses", "touch_amphorae")
"""Without anything to write they do not go to the database."""
IDLE_WITHOUT_CLAIM = ("release_claim", "load_snapshot")
"""They do nothing, and say nothing, when the load balancer is gone or held by another."""


class TwinStore:
    """A process's connections to the database."""

    def __init__(self, database: Database, process: Process) -> None:
        self._database = database
        self._process = process
        self._faults: Faults = process.faults

    async def call(self, name: str, *args: Any, **values: Any) -> Any:
        """Run one statement: it may be refused, slow, or done without anybody being told."""
        if name in IDLE_WHEN_EMPTY and not args[0]:
            return None
        if self._process.strikes("database-slow"):
            seconds = self._faults.draw_s(0.5, 8.0)
            self._process.disturb(seconds)
            await asyncio.sleep(seconds)
        await self._process.point(f"the start of {name}")
        await self.reach()
        answer = None if name in NOT_FOLLOWED else self._run(name, *args, **values)
        await self._process.point(f"the end of {name}")
        if self._database.waits_s is not None or self._process.strikes("database-answer-lost"):
            raise _unavailable()
        return answer

    async def reach(self) -> None:
        """Raise `Transient` while the database is away, or does not answer just now."""
        if self._database.waits_s is not None:
            await asyncio.sleep(self._database.waits_s)
            raise _unavailable()
        if self._process.strikes("database-refuses"):
            raise _unavailable()

    def _run(self, name: str, *args: Any, **values: Any) -> Any:
        story, claim = self._process.story, args[0] if args and isinstance(args[0], Claim) else None
        row = self._database.balancers.get(claim.load_balancer_id) if claim is not None else None
        is_lost = claim is not None and (row is None or row.epoch != claim.epoch)
        try:
            answer = getattr(self._database, name)(*args, **values)
            assert not is_lost or name in IDLE_WITHOUT_CLAIM, f"{name} is done by one whose claim is lost: {claim}"
        except AssertionError as error:
            # Whoever runs this would take it for a fault of his own, and go on.
            story.mark_broken(error)
            raise
        story.look_at_rows()
        return answer


def _unavailable() -> Transient:
    return Transient("database-unavailable", "The database does not answer.")


class TwinBell:
    """A worker's ear. A ring may be missed, never the work: polling is the truth."""

    ears: ClassVar[list["TwinBell"]] = []

    def __init__(self, store: TwinStore) -> None:
        self._rung = asyncio.Event()
        self._faults = store._faults
        TwinBell.ears.append(self)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            pass
        self._rung.clear()

    @classmethod
    def ring_all(cls) -> None:
        for bell in cls.ears[-8:]:
            if bell._faults.over or bell._faults.rng.random() < 0.8:
                bell.ring()


class TwinEditor:
    """Edits as the store's own editor takes them."""

    def __init__(self, store: TwinStore, limits: object = None) -> None:
        self._store = store

    async def edit(self, load_balancer_id: str, decide: Decide, *, actor: str, what: str) -> Any:
        return await self._store.call("edit", load_balancer_id, decide)


async def _take_census(_store: TwinStore, _warn_days: float) -> Census:
    return Census(objects={}, amphorae={}, certificates={}, first_end=None, due=0, oldest_due_s=0.0, held=0)


INSTEAD = {"WorkBell": TwinBell, "TreeEditor": TwinEditor, "take_census": _take_census}


@contextmanager
def twins_in_place() -> Iterator[None]:
    """Every statement that these rooms know has a twin here, or this raises `LookupError`."""
    kept: list[tuple[ModuleType, str, Any]] = []
    TwinBell.ears = []
    try:
        for room in ROOMS:
            for name, value in list(vars(room).items()):
                twin = _find_twin(name, value)
                if twin is not None:
                    kept.append((room, name, value))
                    setattr(room, name, twin)
        yield
    finally:
        for room, name, value in kept:
            setattr(room, name, value)


def list_statements() -> set[str]:
    """Return the names of the statements that these rooms know and the simulation follows."""
    found = {name for room in ROOMS for name, value in vars(room).items() if _is_statement(value)}
    return found - {*INSTEAD, *NOT_FOLLOWED}


def _is_statement(value: object) -> bool:
    return getattr(value, "__module__", "").startswith("statera.store.") and not isinstance(value, type)


def _find_twin(name: str, value: object) -> object | None:
    if not getattr(value, "__module__", "").startswith("statera.store."):
        return None
    if name in INSTEAD or isinstance(value, type):
        return INSTEAD.get(name)
    if name not in NOT_FOLLOWED and not hasattr(Database, name):
        raise LookupError(f"statera.store has {name}, tests/simulation/database.py does not")
    return _forward(name)


def _forward(name: str) -> Callable[..., Any]:
    async def call(store: TwinStore, *args: Any, **values: Any) -> Any:
        return await store.call(name, *args, **values)

    return call
