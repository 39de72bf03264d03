"""Edits: a tree in, a pure decision, the difference written, all in one transaction with the row locked.

Parallel edits of one load balancer in a process are committed as a group: the first caller becomes the leader, takes
the lock once, applies every queued decision in order and commits once. Each edit has its own generation and event.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.errors import Refusal, Refused
from statera.model.tree import HealthMonitor, Listener, LoadBalancer, Member, Pool, Resource, Tree
from statera.store.engine import Store
from statera.store.rows import json_object, values_of
from statera.store.tables import TABLE_OF, events, load_balancers

Decide = Callable[[Tree], Tree]

CHANNEL = "statera_work"
CHILDREN: dict[str, type[Resource]] = {
    "listeners": Listener,
    "pools": Pool,
    "members": Member,
    "health_monitors": HealthMonitor,
}
"""Attribute of `Tree` to the kind it holds."""


def _tree_statement() -> sa.Select[Any]:
    parts: list[Any] = [sa.literal_column("'load_balancer'"), json_object(load_balancers, LoadBalancer)]
    for attribute, kind in CHILDREN.items():
        table = TABLE_OF[kind]
        ordered = aggregate_order_by(json_object(table, kind), table.c.created_at, table.c.id)
        rows = sa.select(sa.func.coalesce(sa.func.json_agg(ordered), sa.literal_column("'[]'::json")))
        parts += [
            sa.literal_column(f"'{attribute}'"),
            rows.where(table.c.load_balancer_id == load_balancers.c.id).scalar_subquery(),
        ]
    return sa.select(sa.cast(sa.func.json_build_object(*parts), sa.Text)).where(
        load_balancers.c.id == sa.bindparam("id", type_=sa.Uuid(as_uuid=False))
    )


TREE_STATEMENT = _tree_statement()


async def fetch_tree(connection: AsyncConnection, load_balancer_id: str) -> Tree | None:
    """Read one tree in one statement, on a connection the caller holds."""
    text = (await connection.execute(TREE_STATEMENT, {"id": load_balancer_id})).scalar_one_or_none()
    return None if text is None else msgspec.json.decode(text, type=Tree)


async def load_tree(store: Store, load_balancer_id: str) -> Tree | None:
    """Return a load balancer with all below it, None when it is gone."""
    async with store.read() as connection:
        return await fetch_tree(connection, load_balancer_id)


async def find_load_balancer_id(store: Store, kind: type[Resource], object_id: str) -> str | None:
    """Return the load balancer that an object belongs to, None when there is no such object."""
    table = TABLE_OF[kind]
    column = table.c.id if kind is LoadBalancer else table.c.load_balancer_id
    async with store.read() as connection:
        return (await connection.execute(sa.select(column).where(table.c.id == object_id))).scalar_one_or_none()


async def insert_tree(store: Store, tree: Tree, *, actor: str, what: str) -> None:
    """Store a new load balancer with all below it, all or nothing."""
    try:
        async with store.write() as connection:
            await connection.execute(sa.insert(load_balancers).values(values_of(tree.load_balancer)))
            for attribute, kind in CHILDREN.items():
                rows = [values_of(resource) for resource in getattr(tree, attribute)]
                for row in rows:
                    await connection.execute(sa.insert(TABLE_OF[kind]).values(row))
            await _add_events(connection, tree.load_balancer.id, [(tree.load_balancer.generation, actor, what)])
            await ring(connection)
    except IntegrityError as error:
        raise Refused(Refusal.CONFLICT, "Already an entity with that specified id.") from error


async def ring(connection: AsyncConnection) -> None:
    """Wake the workers when this transaction commits."""
    await connection.execute(sa.text(f"NOTIFY {CHANNEL}"))


class _Waiting(msgspec.Struct, eq=False):
    decide: Decide
    actor: str
    what: str
    answer: "asyncio.Future[Tree]"


class TreeEditor:
    """Applies edits. One per process, so that it can group them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queues: dict[str, list[_Waiting]] = defaultdict(list)
        self._leading: set[str] = set()

    async def edit(self, load_balancer_id: str, decide: Decide, *, actor: str, what: str) -> Tree:
        """Apply one pure decision and return the tree as it stands right after it.

        Raises what `decide` raises, `Refused` (NOT_FOUND) when the load balancer is gone, `Transient` when the
        database is down; then nothing was written.
        """
        waiting = _Waiting(decide, actor, what, asyncio.get_running_loop().create_future())
        self._queues[load_balancer_id].append(waiting)
        if load_balancer_id not in self._leading:
            self._leading.add(load_balancer_id)
            # A task of its own: the leader's client may hang up while others wait for the commit.
            task = asyncio.create_task(self._lead(load_balancer_id))
            task.add_done_callback(lambda _: None)
            _running.add(task)
            task.add_done_callback(_running.discard)
        return await waiting.answer

    async def _lead(self, load_balancer_id: str) -> None:
        try:
            while batch := self._queues.pop(load_balancer_id, None):
                await self._commit_group(load_balancer_id, batch)
        finally:
            self._leading.discard(load_balancer_id)

    async def _commit_group(self, load_balancer_id: str, batch: list[_Waiting]) -> None:
        accepted: list[tuple[_Waiting, Tree]] = []
        try:
            async with self._store.write() as connection:
                lock = sa.select(load_balancers.c.id).where(load_balancers.c.id == load_balancer_id).with_for_update()
                before = None
                if (await connection.execute(lock)).first() is not None:
                    before = await fetch_tree(connection, load_balancer_id)
                if before is None:
                    raise Refused(Refusal.NOT_FOUND, f"Load Balancer {load_balancer_id} not found.")
                after = before
                for waiting in batch:
                    after = _decide_one(waiting, after, accepted)
                if accepted:
                    await _save_difference(connection, before, after)
                    notes = [(tree.load_balancer.generation, w.actor, w.what) for w, tree in accepted]
                    await _add_events(connection, load_balancer_id, notes)
                    await ring(connection)
        except Exception as error:
            failure = _conflict(error) if isinstance(error, IntegrityError) else error
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(failure)
            return
        for waiting, tree in accepted:
            if not waiting.answer.done():
                waiting.answer.set_result(tree)


_running: set["asyncio.Task[None]"] = set()


def _decide_one(waiting: _Waiting, tree: Tree, accepted: list[tuple[_Waiting, Tree]]) -> Tree:
    if waiting.answer.cancelled():
        return tree
    try:
        after = waiting.decide(tree)
    except Exception as error:
        # Whatever it is, it belongs to this caller alone; the others of the group go on.
        waiting.answer.set_exception(error)
        return tree
    accepted.append((waiting, after))
    return after


def _conflict(error: IntegrityError) -> Refused:
    return Refused(Refusal.CONFLICT, "Another object with the same address and port was made at the same time.")


async def _save_difference(connection: AsyncConnection, before: Tree, after: Tree) -> None:
    # Only what differs is written: the reconciler and health may have changed other columns meanwhile.
    changed = _changed_values(before.load_balancer, after.load_balancer)
    values = changed | {"due_at": sa.func.now(), "failures": 0, "failing_since": None}
    await connection.execute(_update(after.load_balancer).values(values))
    for attribute, kind in CHILDREN.items():
        old = {resource.id: resource for resource in getattr(before, attribute)}
        for resource in getattr(after, attribute):
            if resource.id not in old:
                await connection.execute(sa.insert(TABLE_OF[kind]).values(values_of(resource)))
            elif changed := _changed_values(old[resource.id], resource):
                await connection.execute(_update(resource).values(changed))


def _update(resource: Resource) -> sa.Update:
    table = TABLE_OF[type(resource)]
    return sa.update(table).where(table.c.id == resource.id)


def _changed_values(before: Resource, after: Resource) -> dict[str, Any]:
    if before is after:
        return {}
    values = values_of(after)
    return {field: values[field] for field in values if getattr(before, field) != getattr(after, field)}


async def _add_events(connection: AsyncConnection, load_balancer_id: str, notes: list[tuple[int, str, str]]) -> None:
    rows = [
        {"load_balancer_id": load_balancer_id, "generation": generation, "actor": actor, "what": what}
        for generation, actor, what in notes
    ]
    statement = sa.insert(events).values(at=sa.func.clock_timestamp())
    await connection.execute(statement, rows)
