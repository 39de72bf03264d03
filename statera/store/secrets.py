"""Secrets and containers of the built-in key manager. Payloads come and go sealed: this room has no key to them."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.errors import Refusal, Refused
from statera.base.ids import is_uuid
from statera.model.secrets import ContainerRow, SecretRow
from statera.store.engine import AnyRow, Store
from statera.store.tables import listeners, load_balancers, pools, secret_containers, secrets
from statera.store.trees import ring

R = TypeVar("R", SecretRow, ContainerRow)

_SECRET = [secrets.c[name] for name in SecretRow.__struct_fields__]
_CONTAINER = [secret_containers.c[name] for name in ContainerRow.__struct_fields__]

_REFERENCES = (
    (listeners, listeners.c.default_tls_container_ref),
    (listeners, listeners.c.client_ca_tls_container_ref),
    (listeners, listeners.c.client_crl_container_ref),
    (listeners, sa.func.array_to_string(listeners.c.sni_container_refs, " ")),
    (pools, pools.c.tls_container_ref),
    (pools, pools.c.ca_tls_container_ref),
    (pools, pools.c.crl_container_ref),
)
"""Where references stand; one names what it refers to by its id."""


class StoredSecretBook:
    """Implements `model.secrets.SecretBook`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save_secret(self, row: SecretRow, sealed: bytes | None) -> None:
        """Write a secret. Load balancers that use it become due: they shall serve the new one."""

        async def work(connection: AsyncConnection) -> None:
            values = msgspec.structs.asdict(row) | {"sealed": sealed}
            statement = insert(secrets).values(values)
            await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
            await _mark_users_due(connection, row.id)

        await self._store.run(work)

    async def save_container(self, row: ContainerRow) -> None:
        """Write a container; again is fine."""
        values = msgspec.structs.asdict(row)
        statement = insert(secret_containers).values(values)
        await self._store.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))

    async def load_secret(self, secret_id: str) -> tuple[SecretRow, bytes | None] | None:
        """Return a secret and its sealed payload."""
        if not is_uuid(secret_id):
            return None
        rows = await self._store.execute(sa.select(*_SECRET, secrets.c.sealed).where(secrets.c.id == secret_id))
        return (_read(SecretRow, rows[0]), rows[0].sealed) if rows else None

    async def load_container(self, container_id: str) -> ContainerRow | None:
        if not is_uuid(container_id):
            return None
        rows = await self._store.execute(sa.select(*_CONTAINER).where(secret_containers.c.id == container_id))
        return _read(ContainerRow, rows[0]) if rows else None

    async def list_secrets(
        self, project_id: str, wanted: Mapping[str, str | int], *, limit: int, offset: int
    ) -> tuple[tuple[SecretRow, ...], int]:
        """Return part of a project's secrets with the `wanted` values, oldest first, and the number of all."""
        rows, total = await self._list(secrets, _SECRET, project_id, wanted, limit, offset)
        return tuple(_read(SecretRow, row) for row in rows), total

    async def list_containers(
        self, project_id: str, wanted: Mapping[str, str | int], *, limit: int, offset: int
    ) -> tuple[tuple[ContainerRow, ...], int]:
        rows, total = await self._list(secret_containers, _CONTAINER, project_id, wanted, limit, offset)
        return tuple(_read(ContainerRow, row) for row in rows), total

    async def _list(
        self,
        table: sa.Table,
        columns: list[Any],
        project_id: str,
        wanted: Mapping[str, str | int],
        limit: int,
        offset: int,
    ) -> tuple[list[AnyRow], int]:
        chosen = sa.and_(table.c.project_id == project_id, *(table.c[name] == value for name, value in wanted.items()))
        counted = await self._store.execute(sa.select(sa.func.count()).select_from(table).where(chosen))
        statement = sa.select(*columns).where(chosen).order_by(table.c.created_at, table.c.id)
        rows = await self._store.execute(statement.limit(limit).offset(offset))
        return list(rows), int(counted[0][0])

    async def remove_secret(self, secret_id: str) -> None:
        """Delete a secret. Refuses (CONFLICT) while a load balancer or a container uses it."""

        async def work(connection: AsyncConnection) -> None:
            await _refuse_used(connection, secret_id)
            held = sa.exists().where(
                sa.cast(secret_containers.c.secret_ids, sa.Text).contains(secret_id, autoescape=True)
            )
            if (await connection.execute(sa.select(held))).scalar_one():
                raise Refused(Refusal.CONFLICT, f"Secret {secret_id} is in use by a container.")
            await connection.execute(sa.delete(secrets).where(secrets.c.id == secret_id))

        if is_uuid(secret_id):
            await self._store.run(work)

    async def remove_container(self, container_id: str) -> None:
        """Delete a container, not its secrets. Refuses (CONFLICT) while a load balancer uses it."""

        async def work(connection: AsyncConnection) -> None:
            await _refuse_used(connection, container_id)
            await connection.execute(sa.delete(secret_containers).where(secret_containers.c.id == container_id))

        if is_uuid(container_id):
            await self._store.run(work)


def _read(kind: type[R], row: AnyRow) -> R:
    return kind(**{name: row._mapping[name] for name in kind.__struct_fields__})


async def _refuse_used(connection: AsyncConnection, object_id: str) -> None:
    for table, column in _REFERENCES:
        found = sa.select(table.c.id).where(column.contains(object_id, autoescape=True), ~table.c.deleting).limit(1)
        user = (await connection.execute(found)).scalar_one_or_none()
        if user is not None:
            raise Refused(Refusal.CONFLICT, f"It is in use by the {table.name[:-1]} {user}.")


async def _mark_users_due(connection: AsyncConnection, secret_id: str) -> None:
    held = sa.select(secret_containers.c.id).where(
        sa.cast(secret_containers.c.secret_ids, sa.Text).contains(secret_id, autoescape=True)
    )
    named = [secret_id, *(await connection.execute(held)).scalars()]
    users: set[str] = set()
    for table, column in _REFERENCES:
        for one in named:
            found = sa.select(table.c.load_balancer_id).where(column.contains(one, autoescape=True))
            users |= set((await connection.execute(found)).scalars())
    if users:
        due = sa.update(load_balancers).where(load_balancers.c.id.in_(sorted(users)))
        await connection.execute(due.values(due_at=sa.func.now()))
        await ring(connection)
