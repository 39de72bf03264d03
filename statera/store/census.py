"""How many of everything there is, for the operator's gauges: one statement each, over all projects."""

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from statera.store.engine import Store
from statera.store.tables import TABLE_OF, amphorae, load_balancers


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers as of one instant."""

    objects: Mapping[tuple[str, ...], int]
    """By table, provisioning status and operating status."""
    amphorae: Mapping[tuple[str, ...], int]
    """By host and status."""
    due: int
    """Load balancers that should be worked on and that no worker has."""
    oldest_due_s: float
    """Seconds that the first of them has waited."""
    held: int
    """Load balancers that a worker has."""


def _count_objects() -> sa.CompoundSelect[tuple[str, str, str, int]]:
    parts = [
        sa.select(
            sa.literal(table.name).label("kind"), table.c.provisioning_status, table.c.operating_status, sa.func.count()
        ).group_by(table.c.provisioning_status, table.c.operating_status)
        for table in TABLE_OF.values()
    ]
    return sa.union_all(*parts)


_OBJECTS = _count_objects()
_AMPHORAE = sa.select(amphorae.c.host, amphorae.c.status, sa.func.count()).group_by(amphorae.c.host, amphorae.c.status)
_DUE = sa.text(f"""
    SELECT count(*) FILTER (WHERE is_free) AS due, count(*) FILTER (WHERE NOT is_free) AS held,
        coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE is_free)), 0) AS oldest_due_s
    FROM (
        SELECT due_at, lease_until IS NULL OR lease_until <= now() AS is_free FROM {load_balancers.name}
        WHERE due_at <= now() OR lease_until > now()
    ) AS at_work
""")


async def take_census(store: Store) -> Census:
    """Count. Raises `Transient`."""
    objects, boxes, work = await store.execute(_OBJECTS), await store.execute(_AMPHORAE), await store.execute(_DUE)
    return Census(
        objects={(row[0], row[1], row[2]): row[3] for row in objects},
        amphorae={(row[0], row[1]): row[2] for row in boxes},
        due=work[0].due,
        held=work[0].held,
        oldest_due_s=float(work[0].oldest_due_s),
    )
