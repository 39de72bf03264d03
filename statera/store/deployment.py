"""The one row that says which deployment this database is, and how far it has come."""

import sqlalchemy as sa

from statera.model.deployment import Deployment
from statera.store.engine import Store

_COLUMNS = "CAST(id AS text) AS id, mark, held_since"
_LOAD = sa.text(f"SELECT {_COLUMNS} FROM deployment")
_ADVANCE = sa.text(f"UPDATE deployment SET mark = mark + 1 RETURNING {_COLUMNS}")
_HOLD = sa.text("""
    UPDATE deployment SET mark = :seen, held_since = coalesce(held_since, now()) WHERE mark < :seen RETURNING mark
""")
_RELEASE = sa.text("UPDATE deployment SET held_since = NULL")


async def load_deployment(store: Store) -> Deployment:
    """Return what is known. Raises `Transient`, also before the schema has it."""
    return _read((await store.execute(_LOAD))[0])


async def advance_mark(store: Store) -> Deployment:
    """Raise the mark and return what is known since."""
    return _read((await store.execute(_ADVANCE))[0])


async def hold_collection(store: Store, seen: int) -> bool:
    """Stop collecting if a host has seen a newer database than this is; catch up with its mark. Say whether it has."""
    return bool(await store.execute(_HOLD, {"seen": seen}))


async def release_collection(store: Store) -> None:
    """Collect as usual again."""
    await store.execute(_RELEASE)


def _read(row: sa.Row) -> Deployment:  # type: ignore[type-arg]
    return Deployment(id=row.id, mark=row.mark, held_since=row.held_since)
