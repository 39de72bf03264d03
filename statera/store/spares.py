"""Spare amphorae: rows without a load balancer. Whoever takes one, or takes one away, does so in one statement."""

import secrets

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.secret import Secret
from statera.model.amphora import Amphora, Spare
from statera.model.enums import AmphoraRole, AmphoraStatus
from statera.model.work import Claim
from statera.store.amphorae import KEY_BYTES
from statera.store.claims import fence
from statera.store.engine import Store

_READY, _BUILDING, _CONDEMNED = AmphoraStatus.READY, AmphoraStatus.PENDING_CREATE, AmphoraStatus.PENDING_DELETE

_LIST = sa.text(f"""
    SELECT CAST(id AS text) AS id, host, status = '{_READY}' AS is_ready, status = '{_CONDEMNED}' AS is_condemned
    FROM amphorae WHERE load_balancer_id IS NULL ORDER BY created_at, id
""")


async def list_spares(store: Store) -> tuple[Spare, ...]:
    """Return all spares, oldest first."""
    return tuple(Spare(**row._mapping) for row in await store.execute(_LIST))


_ADD = sa.text(f"""
    INSERT INTO amphorae (id, host, role, status, ports, created_at, heartbeat_key)
    VALUES (CAST(:id AS uuid), :host, '{AmphoraRole.STANDALONE}', '{_BUILDING}', '[]', now(), :key)
""")


async def add_spare(store: Store, amphora_id: str, host: str) -> None:
    """Write the row, before anything outside carries its id."""
    await store.execute(_ADD, {"id": amphora_id, "host": host, "key": secrets.token_bytes(KEY_BYTES)})


_KEY = sa.text(f"""
    SELECT heartbeat_key FROM amphorae
    WHERE id = CAST(:id AS uuid) AND load_balancer_id IS NULL AND status = '{_BUILDING}'
""")


async def load_spare_key(store: Store, amphora_id: str) -> Secret[bytes] | None:
    """Return the heartbeat key of a spare that is to be built, None when it is not any more."""
    rows = await store.execute(_KEY, {"id": amphora_id})
    return Secret(bytes(rows[0][0])) if rows else None


_CONFIRM = sa.text(f"""
    UPDATE amphorae SET status = '{_READY}', updated_at = now()
    WHERE id = CAST(:id AS uuid) AND load_balancer_id IS NULL AND status = '{_BUILDING}'
""")


async def confirm_spare(store: Store, amphora_id: str) -> None:
    """Write that a spare has been built: from now on it may be taken."""
    await store.execute(_CONFIRM, {"id": amphora_id})


_CONDEMN = sa.text(f"""
    UPDATE amphorae SET status = '{_CONDEMNED}', updated_at = now()
    WHERE id = CAST(:id AS uuid) AND load_balancer_id IS NULL RETURNING id
""")


async def condemn_spare(store: Store, amphora_id: str) -> bool:
    """Mark a spare as one that nobody may take any more. False: somebody was faster."""
    return bool(await store.execute(_CONDEMN, {"id": amphora_id}))


_DROP = sa.text(f"""
    DELETE FROM amphorae WHERE id = CAST(:id AS uuid) AND load_balancer_id IS NULL AND status = '{_CONDEMNED}'
""")


async def drop_spare(store: Store, amphora_id: str) -> None:
    """Delete the row of a condemned spare whose sandbox is gone."""
    await store.execute(_DROP, {"id": amphora_id})


_TAKE = sa.text(f"""
    UPDATE amphorae
    SET load_balancer_id = CAST(:load_balancer_id AS uuid), role = :role, status = '{_BUILDING}',
        created_at = :created_at, updated_at = NULL
    WHERE id = CAST(:id AS uuid) AND load_balancer_id IS NULL AND status = '{_READY}' AND host = :host
    RETURNING id
""")


async def take_spare(store: Store, claim: Claim, amphora: Amphora) -> bool:
    """Make a spare the load balancer's own. False: another worker has taken it. Raises `LostClaim`."""
    values = {
        "id": amphora.id,
        "load_balancer_id": amphora.load_balancer_id,
        "role": amphora.role.value,
        "created_at": amphora.created_at,
        "host": amphora.host,
    }

    async def work(connection: AsyncConnection) -> bool:
        await fence(connection, claim)
        return (await connection.execute(_TAKE, values)).one_or_none() is not None

    return await store.run(work)
