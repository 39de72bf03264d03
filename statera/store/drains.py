"""Hosts that are drained, and what stays on them."""

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from statera.base.reason import Reason
from statera.model.draining import Drain, Stay
from statera.store.engine import Store
from statera.store.rows import encode_told, json_list, json_object
from statera.store.tables import drains
from statera.store.trees import CHANNEL

_ADD = sa.text("""
    INSERT INTO drains (host, actor, since) VALUES (:host, :actor, now()) ON CONFLICT (host) DO NOTHING
""")


async def add_drain(store: Store, host: str, actor: str) -> None:
    """Have a host emptied; once is enough."""
    await store.execute(_ADD, {"host": host, "actor": actor})


_FORGET = sa.text(f"""
    WITH gone AS (
        INSERT INTO drains (host, actor, since, is_gone) VALUES (:host, :actor, now(), true)
        ON CONFLICT (host) DO UPDATE SET is_gone = true
    ), marked AS (
        UPDATE load_balancers SET due_at = least(due_at, now())
        WHERE id IN (
            SELECT id FROM load_balancers WHERE id IN (SELECT load_balancer_id FROM amphorae WHERE host = :host)
            ORDER BY id FOR UPDATE
        )
        RETURNING id
    )
    SELECT pg_notify('{CHANNEL}', '') FROM marked LIMIT 1
""")


async def forget_host(store: Store, host: str, actor: str) -> None:
    """Note that a host is gone for good, with all on it, and have its load balancers looked at; both or nothing."""
    await store.execute(_FORGET, {"host": host, "actor": actor})


async def is_host_gone(store: Store, host: str) -> bool:
    """Say whether an operator has said so."""
    return bool(await store.execute(sa.select(drains.c.host).where(drains.c.host == host, drains.c.is_gone)))


async def remove_drain(store: Store, host: str) -> bool:
    """Let a host take amphorae again. False: it was not drained."""
    return bool(await store.execute(sa.delete(drains).where(drains.c.host == host).returning(drains.c.host)))


async def list_drains(store: Store) -> tuple[Drain, ...]:
    """Return the hosts that are drained, by name."""
    ordered = sa.select(json_object(drains, Drain).label("item")).order_by(drains.c.host).subquery()
    rows = await store.execute(sa.select(sa.cast(json_list(ordered.c.item), sa.Text)))
    return msgspec.json.decode(rows[0][0], type=tuple[Drain, ...])


_EXPLAIN = sa.text("""
    UPDATE drains SET reason = told.value FROM drains AS old
    LEFT JOIN jsonb_each(CAST(:reasons AS jsonb)) AS told ON told.key = old.host
    WHERE drains.host = old.host AND drains.reason IS DISTINCT FROM told.value
""")


async def explain_drains(store: Store, reasons: Mapping[str, Reason]) -> None:
    """Write by host why something there is not moved; hosts that are not named have no such reason."""
    await store.execute(_EXPLAIN, {"reasons": encode_told(reasons)})


_STAYS = sa.text("""
    SELECT coalesce(json_agg(json_build_object(
        'amphora_id', a.id, 'load_balancer_id', l.id, 'host', a.host, 'compute_zone', l.compute_zone,
        'is_asked', a.id = ANY(l.amphorae_to_replace) OR a.status = 'PENDING_DELETE',
        'provisioning_status', l.provisioning_status, 'reason', l.reason, 'deleting', l.deleting
    ) ORDER BY l.created_at, l.id, a.role, a.id), '[]')::text
    FROM amphorae AS a JOIN drains AS d ON d.host = a.host JOIN load_balancers AS l ON l.id = a.load_balancer_id
""")


async def list_stays(store: Store) -> tuple[Stay, ...]:
    """Return the amphorae of load balancers on hosts that are drained, those of the oldest load balancer first."""
    rows = await store.execute(_STAYS)
    return msgspec.json.decode(rows[0][0], type=tuple[Stay, ...])
