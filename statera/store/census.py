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
    certificates: Mapping[tuple[str, ...], int]
    """Tenants' certificates that are served with, by how far their end is: `valid`, `expires` (soon), `expired`."""
    first_end: float | None
    """When the next of them ends that has not yet, as a Unix time."""


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


_ENDS = sa.text(f"""
    SELECT count(*) FILTER (WHERE "end" <= now()) AS expired,
        count(*) FILTER (WHERE "end" > now() AND "end" <= now() + make_interval(secs => :warn_s)) AS expires,
        count(*) FILTER (WHERE "end" > now() + make_interval(secs => :warn_s)) AS valid,
        extract(epoch FROM min("end") FILTER (WHERE "end" > now())) AS first_end
    FROM (
        SELECT DISTINCT key, CAST(value AS timestamptz) AS "end"
        FROM {load_balancers.name}, jsonb_each_text(certificate_ends) WHERE certificate_ends <> '{{}}'
    ) AS certificates
""")
DAY_S = 86_400.0


async def take_census(store: Store, warn_days: float) -> Census:
    """Count. Certificates expire soon that end within `warn_days` days. Raises `Transient`."""
    (ends,) = await store.execute(_ENDS, {"warn_s": warn_days * DAY_S})
    objects, boxes, work = await store.execute(_OBJECTS), await store.execute(_AMPHORAE), await store.execute(_DUE)
    return Census(
        objects={(row[0], row[1], row[2]): row[3] for row in objects},
        amphorae={(row[0], row[1]): row[2] for row in boxes},
        due=work[0].due,
        held=work[0].held,
        oldest_due_s=float(work[0].oldest_due_s),
        certificates={("valid",): ends.valid, ("expires",): ends.expires, ("expired",): ends.expired},
        first_end=None if ends.first_end is None else float(ends.first_end),
    )
