"""The trees that were live, newest first, bounded in number for each load balancer. Settling writes them."""

import datetime as dt

import msgspec
import sqlalchemy as sa

from statera.base.ids import is_uuid
from statera.model.tree import Tree
from statera.store.engine import Store
from statera.store.tables import generations

KEEP_GENERATION = """
    kept AS (
        INSERT INTO generations (load_balancer_id, generation, settled_at, tree)
        SELECT held.id, CAST(:generation AS bigint), now(), CAST(:tree AS text) FROM held
        WHERE CAST(:tree AS text) IS NOT NULL
        ON CONFLICT (load_balancer_id, generation) DO NOTHING
    ), forgotten AS (
        DELETE FROM generations USING held
        WHERE load_balancer_id = held.id AND CAST(:tree AS text) IS NOT NULL AND generation <= (
            SELECT old.generation FROM generations AS old
            WHERE old.load_balancer_id = held.id AND old.generation < CAST(:generation AS bigint)
            ORDER BY old.generation DESC OFFSET CAST(:keep AS integer) - 1 LIMIT 1
        )
    )"""
"""Parts of a statement that settles: what is kept beside the new one, which they do not see, is `keep` less one."""


class KeptGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """One tree that was live."""

    generation: int
    settled_at: dt.datetime


async def list_generations(store: Store, load_balancer_id: str) -> tuple[KeptGeneration, ...]:
    """Return what is kept of a load balancer, newest first."""
    if not is_uuid(load_balancer_id):
        return ()
    found = (
        sa.select(generations.c.generation, generations.c.settled_at)
        .where(generations.c.load_balancer_id == load_balancer_id)
        .order_by(generations.c.generation.desc())
    )
    return tuple(KeptGeneration(**row._mapping) for row in await store.execute(found))


async def load_generation(store: Store, load_balancer_id: str, generation: int) -> Tree | None:
    """Return the tree of a generation, None when it is not kept."""
    if not is_uuid(load_balancer_id):
        return None
    mine = (generations.c.load_balancer_id == load_balancer_id) & (generations.c.generation == generation)
    rows = await store.execute(sa.select(generations.c.tree).where(mine))
    return msgspec.json.decode(rows[0][0], type=Tree) if rows else None


async def load_newest_generation(store: Store, load_balancer_id: str) -> Tree | None:
    """Return the tree that was live last, None before the first."""
    newest = (
        sa.select(generations.c.tree)
        .where(generations.c.load_balancer_id == load_balancer_id)
        .order_by(generations.c.generation.desc())
        .limit(1)
    )
    rows = await store.execute(newest)
    return msgspec.json.decode(rows[0][0], type=Tree) if rows else None
