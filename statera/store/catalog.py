"""Writing flavors, availability zones and their profiles. Who uses what, foreign keys know, so no use is overlooked."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.errors import Refusal, Refused
from statera.model.catalog import RECORD_WORDS, AvailabilityZoneProfile, FlavorProfile, Record
from statera.store.engine import Store
from statera.store.tables import RECORD_TABLE_OF, availability_zones, flavors

K = TypeVar("K", bound=Record)

_USES: dict[type[Record], sa.Column[Any]] = {
    FlavorProfile: flavors.c.flavor_profile_id,
    AvailabilityZoneProfile: availability_zones.c.availability_zone_profile_id,
}
"""Where a profile is used."""


async def insert_record(store: Store, record: Record) -> None:
    """Store a new object. Raises `Refused`: (CONFLICT) for a name that is taken, (INVALID) without its profile."""
    try:
        await store.execute(sa.insert(RECORD_TABLE_OF[type(record)]).values(msgspec.structs.asdict(record)))
    except IntegrityError as error:
        if _is(error, psycopg.errors.UniqueViolation):
            raise _taken(type(record), record.name) from error
        raise Refused(Refusal.INVALID, f"Validation failure: Invalid {_profile_field(record)}.") from error


async def update_record(store: Store, kind: type[K], key: str, values: Mapping[str, Any]) -> K | None:
    """Change an object and return it, None when it is gone. Raises `Refused` (CONFLICT) for a name that is taken."""
    try:
        return await store.run(lambda connection: _update(connection, kind, key, values))
    except IntegrityError as error:
        raise _taken(kind, str(values.get("name"))) from error


async def update_profile(store: Store, kind: type[K], key: str, values: Mapping[str, Any]) -> K | None:
    """Likewise a profile. Raises `Refused` (CONFLICT) for what must not change while it is used: all but its name."""

    async def work(connection: AsyncConnection) -> K | None:
        table = RECORD_TABLE_OF[kind]
        # Whoever begins to use it waits for this lock.
        held = sa.select(table).where(table.c.id == key).with_for_update()
        row = (await connection.execute(held)).one_or_none()
        if row is None:
            return None
        changed = [name for name, value in values.items() if name != "name" and row._mapping[name] != value]
        if changed and (await connection.execute(sa.select(sa.exists().where(_USES[kind] == key)))).scalar_one():
            raise _in_use(kind, key)
        return await _update(connection, kind, key, values)

    return await store.run(work)


async def remove_record(store: Store, kind: type[Record], key: str) -> bool:
    """Remove an object; False when it is gone. Raises `Refused` (CONFLICT) while something uses it."""
    table, column = RECORD_TABLE_OF[kind], _key(kind)
    try:
        return bool(await store.execute(sa.delete(table).where(column == key).returning(column)))
    except IntegrityError as error:
        raise _in_use(kind, key) from error


async def _update(connection: AsyncConnection, kind: type[K], key: str, values: Mapping[str, Any]) -> K | None:
    table, column = RECORD_TABLE_OF[kind], _key(kind)
    columns = [table.c[name] for name in kind.__struct_fields__]
    statement: Any = sa.update(table).where(column == key).values(**values).returning(*columns)
    if not values:
        statement = sa.select(*columns).where(column == key)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else kind(**row._mapping)


def _key(kind: type[Record]) -> sa.Column[Any]:
    return next(iter(RECORD_TABLE_OF[kind].primary_key.columns))


def _is(error: IntegrityError, kind: type[psycopg.Error]) -> bool:
    return isinstance(error.orig, kind)


def _taken(kind: type[Record], name: str) -> Refused:
    return Refused(Refusal.CONFLICT, f"A {RECORD_WORDS[kind].lower()} of {name} already exists.")


def _in_use(kind: type[Record], key: str) -> Refused:
    # The contract spells this one in its own way here.
    word = "Flavor profile" if kind is FlavorProfile else RECORD_WORDS[kind]
    return Refused(Refusal.CONFLICT, f"{word} {key} is in use and cannot be modified.")


def _profile_field(record: Record) -> str:
    return next(name for name in record.__struct_fields__ if name.endswith("_profile_id"))
