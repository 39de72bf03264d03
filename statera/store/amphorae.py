"""Amphora rows, written under a claim, and the keys of their heartbeats."""

import secrets
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.ids import is_uuid
from statera.base.secret import Secret
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus
from statera.model.vrrp import PRIORITIES
from statera.model.work import Claim
from statera.store.claims import fence
from statera.store.engine import Store
from statera.store.rows import encode_told, json_list, json_object, recordset
from statera.store.statistics import fold_amphora
from statera.store.tables import amphorae

KEY_BYTES = 32

_LASTING = ("id", "load_balancer_id", "created_at", "last_heartbeat_at", "has_vips")
"""Attributes that an update leaves alone: who and when it is, and what only heartbeats write."""
_FIELDS = Amphora.__struct_fields__
_SAVE = sa.text(f"""
    INSERT INTO amphorae ({", ".join(_FIELDS)}, heartbeat_key)
    SELECT {", ".join(f"fresh.{field}" for field in _FIELDS)}, coalesce(CAST(:key AS bytea), CAST(:fresh_key AS bytea))
    FROM {recordset(amphorae, _FIELDS)}
    ON CONFLICT (id) DO UPDATE SET
        {", ".join(f"{field} = excluded.{field}" for field in _FIELDS if field not in _LASTING)},
        heartbeat_key = coalesce(CAST(:key AS bytea), amphorae.heartbeat_key)
""")


async def save_amphora(
    store: Store, claim: Claim, amphora: Amphora, *, heartbeat_key: Secret[bytes] | None = None
) -> None:
    """Insert or update a row; without a key an old row keeps its own, a new one a fresh one. Raises `LostClaim`."""

    async def work(connection: AsyncConnection) -> None:
        await fence(connection, claim)
        await write_amphora(connection, amphora, heartbeat_key=heartbeat_key)

    await store.run(work)


async def write_amphora(
    connection: AsyncConnection, amphora: Amphora, *, heartbeat_key: Secret[bytes] | None = None
) -> None:
    """Insert or update a row within a transaction that has its fence."""
    values = {
        "rows": encode_told([amphora]),
        "key": heartbeat_key.reveal() if heartbeat_key else None,
        "fresh_key": secrets.token_bytes(KEY_BYTES),
    }
    await connection.execute(_SAVE, values)


async def remove_amphora(store: Store, claim: Claim, amphora_id: str) -> None:
    """Delete a row whose outside resources are gone; what it has carried stays counted. Raises `LostClaim`."""

    async def work(connection: AsyncConnection) -> None:
        await fence(connection, claim)
        await connection.execute(sa.delete(amphorae).where(amphorae.c.id == amphora_id))
        await fold_amphora(connection, amphora_id)

    await store.run(work)


async def load_amphorae(store: Store, load_balancer_id: str) -> tuple[Amphora, ...]:
    """Return a load balancer's amphora rows, oldest first."""
    if not is_uuid(load_balancer_id):
        return ()
    mine = sa.select(json_object(amphorae, Amphora).label("item")).where(
        amphorae.c.load_balancer_id == load_balancer_id
    )
    ordered = mine.order_by(amphorae.c.created_at, amphorae.c.id).subquery()
    rows = await store.execute(sa.select(sa.cast(json_list(ordered.c.item), sa.Text)))
    return msgspec.json.decode(rows[0][0], type=tuple[Amphora, ...])


async def list_amphorae(store: Store) -> tuple[Amphora, ...]:
    """Return the amphora rows of all load balancers, oldest first."""
    owned = sa.select(json_object(amphorae, Amphora).label("item")).where(amphorae.c.load_balancer_id.is_not(None))
    ordered = owned.order_by(amphorae.c.created_at, amphorae.c.id)
    rows = await store.execute(sa.select(sa.cast(json_list(ordered.subquery().c.item), sa.Text)))
    return msgspec.json.decode(rows[0][0], type=tuple[Amphora, ...])


class _Voices(msgspec.Struct):
    """One list for each attribute, all in the same order: they cost the database less than one object per amphora."""

    id: list[str]
    load_balancer_id: list[str]
    host: list[str]
    status: list[AmphoraStatus]
    created_at: list[datetime]
    last_heartbeat_at: list[datetime | None]


def _voices_statement() -> sa.Select[Any]:
    pairs: list[Any] = []
    for field in _Voices.__struct_fields__:
        pairs += [sa.literal_column(f"'{field}'"), json_list(amphorae.c[field])]
    told = sa.cast(sa.func.json_build_object(*pairs), sa.Text)
    return sa.select(told).where(amphorae.c.load_balancer_id.is_not(None))


_VOICES = _voices_statement()


async def list_voices(store: Store) -> tuple[Amphora, ...]:
    """Return the amphorae of all load balancers without their ports and reasons: who they are, and when last heard."""
    # It is asked for every few seconds, and what all of them have would be most of the answer.
    rows = await store.execute(_VOICES)
    told = msgspec.json.decode(rows[0][0], type=_Voices)
    columns = (told.id, told.load_balancer_id, told.host, told.status, told.created_at, told.last_heartbeat_at)
    return tuple(
        Amphora(id=one, load_balancer_id=owner, host=host, status=status, created_at=created, last_heartbeat_at=heard)
        for one, owner, host, status, created, heard in zip(*columns, strict=True)
    )


async def list_amphora_ids(store: Store, load_balancer_id: str) -> tuple[str, ...]:
    """Return the ids of a load balancer's amphorae, oldest first."""
    mine = sa.select(amphorae.c.id).where(amphorae.c.load_balancer_id == load_balancer_id)
    rows = await store.execute(mine.order_by(amphorae.c.created_at, amphorae.c.id))
    return tuple(row.id for row in rows)


async def count_placed(store: Store) -> dict[str, int]:
    """Return how many amphora rows each host has, those of every load balancer."""
    rows = await store.execute(sa.select(amphorae.c.host, sa.func.count().label("placed")).group_by(amphorae.c.host))
    return {row.host: row.placed for row in rows}


async def list_huddled(store: Store) -> dict[str, int]:
    """Return of how many load balancers each host has both amphorae: they share the VIPs, and are lost together."""
    sharing = amphorae.c.role.in_(tuple(PRIORITIES)) & (amphorae.c.status == AmphoraStatus.ALLOCATED)
    both = sa.select(amphorae.c.host).where(sharing).group_by(amphorae.c.load_balancer_id, amphorae.c.host)
    found = both.having(sa.func.count() > 1).subquery()
    counted = sa.select(found.c.host, sa.func.count().label("number")).group_by(found.c.host)
    rows = await store.execute(counted.order_by(found.c.host))
    return {row.host: row.number for row in rows}


_KEYS = sa.text("SELECT id::text, heartbeat_key FROM amphorae WHERE id = ANY(CAST(:ids AS uuid[]))")


async def load_heartbeat_keys(store: Store, amphora_ids: Collection[str]) -> dict[str, Secret[bytes]]:
    """Return the keys that sign the heartbeats of those amphorae that there are."""
    rows = await store.execute(_KEYS, {"ids": [one for one in amphora_ids if is_uuid(one)]})
    return {amphora_id: Secret(bytes(key)) for amphora_id, key in rows}


async def load_heartbeat_key(store: Store, amphora_id: str) -> Secret[bytes] | None:
    """Return the key that signs an amphora's heartbeats, None when there is no such amphora."""
    return (await load_heartbeat_keys(store, [amphora_id])).get(amphora_id)


_HOLD = sa.text("""
    UPDATE amphorae SET has_vips = news.has_vips
    FROM (
        SELECT amphorae.id, told.has_vips
        FROM amphorae JOIN unnest(CAST(:ids AS uuid[]), CAST(:held AS boolean[])) AS told (id, has_vips) USING (id)
        WHERE id = ANY(CAST(:ids AS uuid[])) AND amphorae.has_vips IS DISTINCT FROM told.has_vips
        ORDER BY id FOR UPDATE OF amphorae
    ) AS news
    WHERE amphorae.id = news.id
""")
"""What is known already is not even locked: a process that has just started tells of all."""


async def save_holders(store: Store, told: Mapping[str, bool | None]) -> None:
    """Write which amphorae have the VIPs that they share, in one statement. Not fenced: it is an observation."""
    if told:
        await store.execute(_HOLD, {"ids": list(told), "held": list(told.values())})


_TOUCH = sa.text("""
    UPDATE amphorae SET last_heartbeat_at = seen.at
    FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[])) AS seen (id, at),
        (SELECT id FROM amphorae WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE SKIP LOCKED) AS free
    WHERE amphorae.id = seen.id AND free.id = seen.id
        AND (last_heartbeat_at IS NULL OR last_heartbeat_at < seen.at)
""")


async def touch_amphorae(store: Store, seen: Mapping[str, datetime]) -> None:
    """Write when amphorae were last heard, in one statement. Not fenced: it is an observation.

    A row that somebody writes at this instant is left out: the next heartbeat is near.
    """
    if seen:
        await store.execute(_TOUCH, {"ids": list(seen), "times": list(seen.values())})
