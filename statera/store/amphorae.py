"""Amphora rows, written under a claim, and the keys of their heartbeats."""

import secrets
from collections.abc import Mapping
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from statera.base.secret import Secret
from statera.model.amphora import Amphora
from statera.model.work import Claim
from statera.store.claims import fence
from statera.store.engine import Store
from statera.store.rows import json_object, plain
from statera.store.tables import amphorae

KEY_BYTES = 32


async def save_amphora(store: Store, claim: Claim, amphora: Amphora) -> None:
    """Insert or update a row; a new one gets a fresh heartbeat key. Raises `LostClaim`."""
    values = {field: plain(getattr(amphora, field), amphorae.c[field]) for field in amphora.__struct_fields__}
    fixed = ("id", "load_balancer_id", "created_at", "last_heartbeat_at")
    statement = insert(amphorae).values(values | {"heartbeat_key": secrets.token_bytes(KEY_BYTES)})
    changed = {field: value for field, value in values.items() if field not in fixed}
    async with store.write() as connection:
        await fence(connection, claim)
        await connection.execute(statement.on_conflict_do_update(index_elements=[amphorae.c.id], set_=changed))


async def remove_amphora(store: Store, claim: Claim, amphora_id: str) -> None:
    """Delete a row whose outside resources are gone. Raises `LostClaim`."""
    async with store.write() as connection:
        await fence(connection, claim)
        await connection.execute(sa.delete(amphorae).where(amphorae.c.id == amphora_id))


async def list_amphorae(store: Store) -> tuple[Amphora, ...]:
    """Return all amphora rows, oldest first."""
    statement = sa.select(sa.cast(sa.func.json_agg(json_object(amphorae, Amphora)), sa.Text))
    async with store.read() as connection:
        text = (await connection.execute(statement)).scalar()
    found = msgspec.json.decode(text, type=tuple[Amphora, ...]) if text else ()
    return tuple(sorted(found, key=lambda amphora: (amphora.created_at, amphora.id)))


async def load_heartbeat_key(store: Store, amphora_id: str) -> Secret[bytes] | None:
    """Return the key that signs an amphora's heartbeats, None when there is no such amphora."""
    statement = sa.select(amphorae.c.heartbeat_key).where(amphorae.c.id == amphora_id)
    async with store.read() as connection:
        key = (await connection.execute(statement)).scalar_one_or_none()
    return None if key is None else Secret(bytes(key))


async def touch_amphorae(store: Store, seen: Mapping[str, datetime]) -> None:
    """Write when amphorae were last heard, in one statement. Not fenced: it is an observation."""
    if not seen:
        return
    statement = sa.text("""
        UPDATE amphorae SET last_heartbeat_at = fresh.at
        FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[])) AS fresh (id, at)
        WHERE amphorae.id = fresh.id
    """)
    async with store.write() as connection:
        await connection.execute(statement, {"ids": list(seen), "times": list(seen.values())})
