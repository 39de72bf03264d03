"""Edits: a tree in, a pure decision, the difference written, all in one transaction with the row locked.

Parallel edits of one load balancer in a process are committed as a group: the first caller becomes the leader, takes
the lock once, applies every queued decision in order and commits once. Each edit has its own generation and event.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.errand import Errand, current_errand
from statera.base.errors import Refusal, Refused
from statera.base.ids import is_uuid
from statera.base.metrics import counter
from statera.model.quota import Limits, count_growth
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Resource, Tree
from statera.store.engine import Store
from statera.store.quotas import Ledger
from statera.store.rows import among, insert_rows, json_object, update_rows
from statera.store.tables import TABLE_OF, load_balancers

EDITS = counter("statera_edits_total", "Edits of load balancers that were accepted.")
TRANSACTIONS = counter("statera_edit_transactions_total", "Transactions that they took: parallel edits share them.")

Decide = Callable[[Tree], Tree]

CHANNEL = "statera_work"
CHILDREN: dict[str, type[Resource]] = {
    "listeners": Listener,
    "pools": Pool,
    "members": Member,
    "health_monitors": HealthMonitor,
    "l7policies": L7Policy,
    "l7rules": L7Rule,
}
"""Attribute of `Tree` to the kind it holds, parents before what refers to them."""

LOCK_STATEMENT = sa.text("SELECT id FROM load_balancers WHERE id = :id FOR UPDATE")


def _trees_statement() -> sa.Select[Any]:
    parts: list[Any] = [sa.literal_column("'load_balancer'"), json_object(load_balancers, LoadBalancer)]
    for attribute, kind in CHILDREN.items():
        table = TABLE_OF[kind]
        ordered = aggregate_order_by(json_object(table, kind), table.c.created_at, table.c.id)
        rows = sa.select(sa.func.coalesce(sa.func.json_agg(ordered), sa.literal_column("'[]'::json")))
        parts += [
            sa.literal_column(f"'{attribute}'"),
            rows.where(table.c.load_balancer_id == load_balancers.c.id).scalar_subquery(),
        ]
    return sa.select(sa.cast(sa.func.json_build_object(*parts), sa.Text)).where(sa.text(among(load_balancers.name)))


TREES_STATEMENT = _trees_statement()
"""One row for each of the ids in the parameter `ids`: one statement sees all trees as of one instant."""


async def fetch_tree(connection: AsyncConnection, load_balancer_id: str) -> Tree | None:
    """Read one tree in one statement, on a connection the caller holds."""
    text = (await connection.execute(TREES_STATEMENT, {"ids": [load_balancer_id]})).scalar_one_or_none()
    return None if text is None else msgspec.json.decode(text, type=Tree)


async def load_trees(store: Store, load_balancer_ids: Collection[str]) -> dict[str, Tree]:
    """Return those of these load balancers that there are, each with all below it."""
    rows = await store.execute(TREES_STATEMENT, {"ids": [one for one in load_balancer_ids if is_uuid(one)]})
    trees = (msgspec.json.decode(text, type=Tree) for (text,) in rows)
    return {tree.load_balancer.id: tree for tree in trees}


async def load_tree(store: Store, load_balancer_id: str) -> Tree | None:
    """Return a load balancer with all below it, None when it is gone."""
    found = await load_trees(store, [load_balancer_id])
    return next(iter(found.values()), None)


async def find_load_balancer_id(store: Store, kind: type[Resource], object_id: str) -> str | None:
    """Return the load balancer that an object belongs to, None when there is no such object."""
    table = TABLE_OF[kind]
    column = table.c.id if kind is LoadBalancer else table.c.load_balancer_id
    if not is_uuid(object_id):
        return None
    rows = await store.execute(sa.select(column).where(table.c.id == object_id))
    return rows[0][0] if rows else None


async def insert_tree(store: Store, tree: Tree, *, actor: str, what: str, limits: Limits | None = None) -> None:
    """Store a new load balancer with all below it, all or nothing.

    `limits`: the default quotas of projects, None for no quotas at all. Raises `Refused` (CONFLICT) when it exists,
    (OVER_QUOTA), (INVALID) when its flavor or availability zone is gone.
    """

    async def work(connection: AsyncConnection) -> None:
        if limits is not None:
            await Ledger(connection, tree.load_balancer.project_id, limits).admit(count_growth(None, tree))
        await insert_rows(connection, [tree.load_balancer])
        for attribute in CHILDREN:
            await insert_rows(connection, getattr(tree, attribute))
        note = _Note(tree.load_balancer.generation, actor, what, current_errand())
        await _add_events(connection, tree.load_balancer.id, [note])
        await ring(connection)

    try:
        await store.run(work)
    except (IntegrityError, DataError) as error:
        raise _refusal(error) from error
    EDITS.inc()
    TRANSACTIONS.inc()


async def ring(connection: AsyncConnection) -> None:
    """Wake the workers when this transaction commits."""
    await connection.execute(sa.text(f"NOTIFY {CHANNEL}"))


class _Waiting(msgspec.Struct, eq=False):
    decide: Decide
    actor: str
    what: str
    errand: Errand
    answer: "asyncio.Future[Tree]"


class _Note(msgspec.Struct, frozen=True):
    """One edit, for the history."""

    generation: int
    actor: str
    what: str
    errand: Errand


_Outcome = tuple[_Waiting, Tree | Exception]


class TreeEditor:
    """Applies edits. One per process, so that it can group them."""

    def __init__(self, store: Store, limits: Limits | None = None) -> None:
        """`limits`: the default quotas of projects, None for no quotas at all."""
        self._store = store
        self._limits = limits
        self._queues: dict[str, list[_Waiting]] = defaultdict(list)
        self._leading: dict[str, asyncio.Task[None]] = {}

    async def edit(self, load_balancer_id: str, decide: Decide, *, actor: str, what: str) -> Tree:
        """Apply one pure decision and return the tree as it stands right after it.

        Raises what `decide` raises, `Refused` (NOT_FOUND) when the load balancer is gone, (CONFLICT) when the database
        holds such an object already, (OVER_QUOTA) when the project may not have what it adds, `Transient` when the
        database is down; then nothing was written. `decide` may be called again, on a newer tree.
        """
        waiting = _Waiting(decide, actor, what, current_errand(), asyncio.get_running_loop().create_future())
        self._queues[load_balancer_id].append(waiting)
        if load_balancer_id not in self._leading:
            # A task of its own: the leader's client may hang up while others wait for the commit.
            self._leading[load_balancer_id] = asyncio.create_task(self._lead(load_balancer_id))
        return await waiting.answer

    async def _lead(self, load_balancer_id: str) -> None:
        try:
            while group := self._queues.pop(load_balancer_id, None):
                await self._commit(load_balancer_id, group)
        finally:
            del self._leading[load_balancer_id]
            for waiting in self._queues.pop(load_balancer_id, ()):
                waiting.answer.cancel()  # Only when this task itself was cancelled: the process ends.

    async def _commit(self, load_balancer_id: str, group: Sequence[_Waiting]) -> None:
        try:
            outcomes = await self._store.run(
                lambda connection: _apply(connection, load_balancer_id, group, self._limits)
            )
        except (IntegrityError, DataError) as error:
            if len(group) > 1:
                # One of them breaks a rule that the decisions did not see: only that one may fail.
                for waiting in group:
                    await self._commit(load_balancer_id, [waiting])
                return
            outcomes = [(group[0], _refusal(error))]
        except Exception as error:
            outcomes = [(waiting, error) for waiting in group]
        accepted = sum(isinstance(outcome, Tree) for _, outcome in outcomes)
        EDITS.inc(accepted)
        TRANSACTIONS.inc(accepted > 0)
        for waiting, outcome in outcomes:
            if not waiting.answer.done():
                if isinstance(outcome, Exception):
                    waiting.answer.set_exception(outcome)
                else:
                    waiting.answer.set_result(outcome)


async def _apply(
    connection: AsyncConnection, load_balancer_id: str, group: Sequence[_Waiting], limits: Limits | None
) -> list[_Outcome]:
    before = await lock_tree(connection, load_balancer_id)
    if before is None:
        raise Refused(Refusal.NOT_FOUND, f"Load Balancer {load_balancer_id} not found.")
    after = before
    ledger = None if limits is None else Ledger(connection, before.load_balancer.project_id, limits)
    outcomes: list[_Outcome] = []
    notes: list[_Note] = []
    for waiting in group:
        if waiting.answer.cancelled():
            continue
        outcome = _decide_one(waiting.decide, after)
        if ledger is not None and isinstance(outcome, Tree):
            outcome = await _admit(ledger, after, outcome)
        outcomes.append((waiting, outcome))
        if isinstance(outcome, Tree) and outcome != after:
            after = outcome
            notes.append(_Note(after.load_balancer.generation, waiting.actor, waiting.what, waiting.errand))
    if notes:
        await _save_difference(connection, before, after)
        await _add_events(connection, load_balancer_id, notes)
        await ring(connection)
    return outcomes


async def lock_tree(connection: AsyncConnection, load_balancer_id: str) -> Tree | None:
    """Lock the load balancer's row until the transaction ends, and read the tree as of then."""
    # Two statements: one that waits for the lock would read what was true before the wait.
    if not is_uuid(load_balancer_id):
        return None
    await connection.execute(LOCK_STATEMENT, {"id": load_balancer_id})
    return await fetch_tree(connection, load_balancer_id)


def _decide_one(decide: Decide, before: Tree) -> Tree | Exception:
    try:
        after = decide(before)
    except Exception as error:
        # Whatever it is, it belongs to this caller alone; the others of the group go on.
        return error
    raised = after.load_balancer.generation - before.load_balancer.generation
    if after.load_balancer.id != before.load_balancer.id or (raised != 1 and after != before):
        return ValueError(f"an edit of {before.load_balancer.id} must raise its generation by 1, not by {raised}")
    return after


async def _admit(ledger: Ledger, before: Tree, after: Tree) -> Tree | Exception:
    try:
        await ledger.admit(count_growth(before, after))
    except Refused as error:
        return error
    return after


def _refusal(error: IntegrityError | DataError) -> Refused:
    if isinstance(error, DataError):
        return Refused(Refusal.INVALID, "A value in the request cannot be stored: it holds NUL or is out of range.")
    diagnosis = error.orig.diag if isinstance(error.orig, psycopg.Error) else None
    constraint = (diagnosis and diagnosis.constraint_name) or ""
    if constraint in _GONE:
        return Refused(Refusal.INVALID, _GONE[constraint])
    return Refused(Refusal.CONFLICT, _CONFLICTS.get(constraint, "Already an entity with that specified id."))


_GONE = {
    "fk_load_balancers_flavor_id": "Validation failure: Invalid flavor_id.",
    "fk_load_balancers_availability_zone": "Validation failure: Invalid availability zone.",
}
"""What was there when the request was checked, and was deleted since."""


_CONFLICTS = {
    "uq_listeners_port": "Another Listener on this Load Balancer is already using this protocol and protocol_port.",
    "uq_members_place": "Another member on this pool is already using this ip and protocol_port.",
    "uq_health_monitors_pool": "This pool already has a health monitor",
}
"""The edits themselves refuse these with more words; here they end when two processes disagree."""


async def _save_difference(connection: AsyncConnection, before: Tree, after: Tree) -> None:
    await update_rows(connection, [after.load_balancer])
    for attribute in CHILDREN:
        old = {resource.id: resource for resource in getattr(before, attribute)}
        now = getattr(after, attribute)
        missing = old.keys() - {resource.id for resource in now}
        if missing:
            raise ValueError(f"an edit marks {attribute} as deleting, it does not drop them: {sorted(missing)}")
        await update_rows(connection, [new for new in now if new.id in old and new != old[new.id]])
        await insert_rows(connection, [new for new in now if new.id not in old])


async def _add_events(connection: AsyncConnection, load_balancer_id: str, notes: Sequence[_Note]) -> None:
    values = {
        "id": load_balancer_id,
        "generations": [note.generation for note in notes],
        "actors": [note.actor for note in notes],
        "whats": [note.what for note in notes],
        "request_ids": [note.errand.request_id for note in notes],
        "request_id": notes[-1].errand.request_id,
        "trace": notes[-1].errand.trace,
    }
    await connection.execute(_ADD_EVENTS, values)


_ADD_EVENTS = sa.text("""
    WITH due AS (
        UPDATE load_balancers
        SET due_at = now(), failures = 0, failing_since = NULL, request_id = :request_id, trace = :trace
        WHERE id = :id
    )
    INSERT INTO events (load_balancer_id, generation, actor, what, request_id, at)
    SELECT CAST(:id AS uuid), note.generation, note.actor, note.what, note.request_id, clock_timestamp()
    FROM unnest(
        CAST(:generations AS bigint[]), CAST(:actors AS text[]), CAST(:whats AS text[]), CAST(:request_ids AS text[])
    ) AS note (generation, actor, what, request_id)
""")
"""What is asked for makes the load balancer due, and stands in its history."""
