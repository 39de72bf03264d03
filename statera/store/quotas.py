"""Quotas: the records of projects, and the count of what a project has, in the transaction that adds to it."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.errors import Refusal, Refused
from statera.model.quota import UNLIMITED, Limits, Quota, limit_name
from statera.model.rules import WORDS
from statera.model.tree import Resource
from statera.store.engine import AnyRow, Store
from statera.store.tables import TABLE_OF, quotas

_COLUMNS = [quotas.c[name] for name in Quota.__struct_fields__]


async def load_quota(store: Store, project_id: str) -> Quota | None:
    """Return a project's record, None when it has none."""
    rows = await store.execute(sa.select(*_COLUMNS).where(quotas.c.project_id == project_id))
    return _quota(rows[0]) if rows else None


async def save_quota(store: Store, project_id: str, values: Mapping[str, int | None]) -> Quota:
    """Set some of a project's limits, None for the default; return the whole record."""
    statement = insert(quotas).values(project_id=project_id, **values)
    change = {"project_id": project_id, **values}
    saved = statement.on_conflict_do_update(index_elements=["project_id"], set_=change).returning(*_COLUMNS)
    return _quota((await store.execute(saved))[0])


async def remove_quota(store: Store, project_id: str) -> bool:
    """Remove a project's record, so that the defaults hold; False when there is none."""
    rows = await store.execute(
        sa.delete(quotas).where(quotas.c.project_id == project_id).returning(quotas.c.project_id)
    )
    return bool(rows)


def _quota(row: AnyRow) -> Quota:
    return Quota(**row._mapping)


class Ledger:
    """What one transaction adds to a project, whose record it holds from the first addition to the commit.

    Two transactions that add to one project thus follow each other, and the second counts what the first wrote. An edit
    holds its load balancer's row before; nobody takes the two the other way round.
    """

    def __init__(self, connection: AsyncConnection, project_id: str, defaults: Limits) -> None:
        self._connection = connection
        self._project_id = project_id
        self._defaults = defaults
        self._limits: Limits | None = None
        self._used: dict[type[Resource], int] = {}

    async def admit(self, growth: Mapping[type[Resource], int]) -> None:
        """Book an addition. Raises `Refused` (OVER_QUOTA) naming the kinds; then nothing of it is booked."""
        if not growth:
            return
        if self._limits is None:
            self._limits = await self._lock()
        limits = {kind: getattr(self._limits, limit_name(kind)) for kind in growth}
        bounded = [kind for kind, most in limits.items() if most != UNLIMITED]
        await self._count([kind for kind in bounded if kind not in self._used])
        met = [WORDS[kind] for kind in bounded if self._used[kind] + growth[kind] > limits[kind]]
        if met:
            raise Refused(Refusal.OVER_QUOTA, f"Quota has been met for resources: {', '.join(met)}")
        for kind in bounded:
            self._used[kind] += growth[kind]

    async def _lock(self) -> Limits:
        values = {"project_id": self._project_id}
        row = (await self._connection.execute(_LOCK, values)).one_or_none()
        if row is None:
            row = (await self._connection.execute(_ADD, values)).one()
        return _quota(row).effective(self._defaults)

    async def _count(self, kinds: Sequence[type[Resource]]) -> None:
        # A statement of its own: one that waits for the lock would count what was there before the wait. What is being
        # deleted counts until it is gone.
        if kinds:
            counts = [_count_of(TABLE_OF[kind], self._project_id) for kind in kinds]
            row = (await self._connection.execute(sa.select(*counts))).one()
            self._used.update(zip(kinds, row, strict=True))


_LOCK = sa.select(*_COLUMNS).where(quotas.c.project_id == sa.bindparam("project_id")).with_for_update()
_ADD = (
    insert(quotas)
    .values(project_id=sa.bindparam("project_id"))
    .on_conflict_do_update(index_elements=["project_id"], set_={"project_id": sa.bindparam("project_id")})
    .returning(*_COLUMNS)
)
"""Does nothing to a record that came in between, but locks it."""


def _count_of(table: sa.Table, project_id: str) -> sa.ScalarSelect[Any]:
    return sa.select(sa.func.count()).select_from(table).where(table.c.project_id == project_id).scalar_subquery()
