"""Periodic chores: rows that are claimed like load balancers, so that of many workers one does each, and none is lost.

A chore is safe to do twice; who lost its claim only writes nothing about it any more.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from statera.base.reason import Reason
from statera.model.work import ChoreClaim, ChoreState
from statera.store.engine import Store
from statera.store.rows import encode_told
from statera.store.tables import amphorae, load_balancers

_ADD = sa.text("""
    INSERT INTO chores (name) SELECT unnest(CAST(:names AS text[])) ON CONFLICT (name) DO NOTHING
""")


async def add_chores(store: Store, names: Sequence[str]) -> None:
    """Make sure that each chore has its row; a new one is due at once."""
    await store.execute(_ADD, {"names": list(names)})


_CLAIM = sa.text("""
    UPDATE chores SET lease_owner = :owner, lease_until = now() + make_interval(secs => :lease_s)
    WHERE name = (
        SELECT name FROM chores
        WHERE name = ANY(CAST(:names AS text[])) AND due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
        ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING name, lease_owner AS owner, CAST(memory AS text) AS memory
""")


async def claim_chore(store: Store, names: Sequence[str], *, owner: str, lease_s: float) -> ChoreClaim | None:
    """Take the one of these chores that has been due longest, None when none is due and free."""
    rows = await store.execute(_CLAIM, {"names": list(names), "owner": owner, "lease_s": lease_s})
    if not rows:
        return None
    memory = msgspec.json.decode(rows[0].memory, type=dict[str, datetime])
    return ChoreClaim(name=rows[0].name, owner=rows[0].owner, memory=memory)


_RENEW = sa.text("""
    UPDATE chores SET lease_until = now() + make_interval(secs => :lease_s)
    WHERE name = :name AND lease_owner = :owner
    RETURNING name
""")


async def renew_chore(store: Store, claim: ChoreClaim, *, lease_s: float) -> bool:
    """Hold the claim longer. False: somebody else has it now."""
    return bool(await store.execute(_RENEW, {"name": claim.name, "owner": claim.owner, "lease_s": lease_s}))


_END = sa.text("""
    UPDATE chores
    SET due_at = now() + make_interval(secs => :next_s), lease_owner = NULL, lease_until = NULL,
        done_at = now(), reason = CAST(:reason AS jsonb), memory = CAST(:memory AS jsonb)
    WHERE name = :name AND lease_owner = :owner
    RETURNING name
""")


async def save_chore(
    store: Store, claim: ChoreClaim, *, next_s: float, memory: Mapping[str, datetime], reason: Reason | None = None
) -> bool:
    """End a chore: when it comes next, what to keep in mind, why it failed. False: somebody else has it now."""
    values = {
        "name": claim.name,
        "owner": claim.owner,
        "next_s": next_s,
        "memory": msgspec.json.encode(memory).decode(),
        "reason": encode_told(reason) if reason is not None else None,
    }
    return bool(await store.execute(_END, values))


_LIST = sa.text("""
    SELECT json_build_object(
        'name', name, 'due_at', due_at, 'done_at', done_at, 'reason', reason,
        'owner', CASE WHEN lease_until > now() THEN lease_owner ELSE '' END
    ) AS told FROM chores ORDER BY name
""")


async def list_chores(store: Store) -> tuple[ChoreState, ...]:
    """Return what is known of all chores, by name."""
    rows = await store.execute(_LIST)
    return tuple(msgspec.convert(row.told, ChoreState, strict=False) for row in rows)


async def list_known_ids(store: Store) -> set[str]:
    """Return the ids of all load balancers and amphorae as of one instant: those that outside things may carry."""
    both = sa.union_all(sa.select(load_balancers.c.id), sa.select(amphorae.c.id))
    return {row.id for row in await store.execute(both)}
