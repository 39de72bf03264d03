"""What automatic replacements are decided by: who keeps silent, as health says, and the budget of all workers together.

Health writes `silences`, workers write `replacements`. A silence counts as long as some health process says so again
and again: one that has died, or cannot reach the database, says nothing.
"""

import datetime as dt
from collections.abc import Collection, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.errors import Transient
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus
from statera.model.failover import MINUTE_S, WINDOW_S, Budget, Limits, Lookout, Voices
from statera.model.observed import Silence
from statera.model.work import Claim
from statera.store.amphorae import write_amphora
from statera.store.claims import fence
from statera.store.engine import Store

COUNTS_FOR_S = 20.0
"""Seconds for which a silence counts after a health process has told of it; they look every five seconds at most."""
BUDGET_LOCK = 0x57A7_0005
"""Key of the advisory lock under which the budget is counted and taken from."""

_SPEAKING = f"status IN ('{AmphoraStatus.READY}', '{AmphoraStatus.ALLOCATED}', '{AmphoraStatus.ERROR}')"
# Another health process may have heard it since.
_IS_SILENT = f"""
    silences.told_at > now() - make_interval(secs => {COUNTS_FOR_S})
    AND (last_heartbeat_at IS NULL OR last_heartbeat_at <= silences.since + interval '1 s')"""

# Locked, since an amphora may be dropped between the look at it and the row that refers to it.
_SAVE = sa.text("""
    WITH over AS (DELETE FROM silences WHERE amphora_id = ANY(CAST(:over AS uuid[])))
    INSERT INTO silences (amphora_id, since, told_at)
    SELECT amphorae.id, told.since, now()
    FROM unnest(CAST(:ids AS uuid[]), CAST(:since AS timestamptz[])) AS told (id, since)
    JOIN amphorae ON amphorae.id = told.id
    ORDER BY amphorae.id FOR KEY SHARE OF amphorae
    ON CONFLICT (amphora_id) DO UPDATE SET since = excluded.since, told_at = excluded.told_at
""")


async def save_silences(store: Store, silences: Sequence[Silence], over: Collection[str]) -> None:
    """Write who is silent now, and of whom something is heard again. Amphorae that are gone are skipped."""
    if silences or over:
        values = {
            "ids": [silence.amphora_id for silence in silences],
            "since": [silence.since for silence in silences],
            "over": sorted(over),
        }
        await store.execute(_SAVE, values)


_HOSTS = sa.text(f"""
    SELECT host, count(*) AS serving, count(*) FILTER (WHERE {_IS_SILENT}) AS silent
    FROM amphorae LEFT JOIN silences ON silences.amphora_id = amphorae.id
    WHERE {_SPEAKING} AND load_balancer_id IS NOT NULL GROUP BY host
""")
_SILENT = sa.text(f"""
    SELECT CAST(amphorae.id AS text) AS id, silences.since
    FROM amphorae JOIN silences ON silences.amphora_id = amphorae.id
    WHERE load_balancer_id = CAST(:id AS uuid) AND {_IS_SILENT}
""")
_SPENT = sa.text(f"""
    SELECT count(*) FILTER (WHERE at > now() - make_interval(secs => {MINUTE_S})) AS in_minute, count(*) AS in_window,
        (SELECT count(*) FROM amphorae WHERE {_SPEAKING} AND load_balancer_id IS NOT NULL) AS fleet
    FROM replacements WHERE at > now() - make_interval(secs => {WINDOW_S})
""")


async def load_lookout(store: Store, load_balancer_id: str, limits: Limits) -> Lookout:
    """Return what is known beyond one load balancer of which some amphora looks dead."""
    async with store.read() as connection:
        silent = (await connection.execute(_SILENT, {"id": load_balancer_id})).all()
        hosts = (await connection.execute(_HOSTS)).all()
        budget = await _load_budget(connection, limits)
    return Lookout(
        silent_since={row.id: row.since.astimezone(dt.UTC) for row in silent},
        hosts={row.host: Voices(serving=row.serving, silent=row.silent) for row in hosts},
        budget=budget,
    )


async def load_budget(store: Store, limits: Limits) -> Budget:
    """Return what of the budget is spent now."""
    async with store.read() as connection:
        return await _load_budget(connection, limits)


async def _load_budget(connection: AsyncConnection, limits: Limits) -> Budget:
    row = (await connection.execute(_SPENT)).one()
    return Budget(limits=limits, fleet=row.fleet, in_minute=row.in_minute, in_window=row.in_window)


_TAKE = sa.text("INSERT INTO replacements (amphora_id) VALUES (CAST(:id AS uuid)) ON CONFLICT DO NOTHING")
_FORGET = sa.text(f"DELETE FROM replacements WHERE at < now() - make_interval(secs => {WINDOW_S})")


async def save_given_up(store: Store, claim: Claim, amphora: Amphora, limits: Limits) -> None:
    """Write the row of an amphora that is to be replaced, and take that from the budget; both or nothing.

    Raises `LostClaim`, and `Transient` (slug `replacement-budget-spent`) when other workers were faster.
    """

    async def work(connection: AsyncConnection) -> None:
        await fence(connection, claim)
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(BUDGET_LOCK)))
        spent = (await _load_budget(connection, limits)).tell_spent()
        if spent:
            raise Transient("replacement-budget-spent", f"Amphora {amphora.id} is not replaced yet: {spent}")
        await connection.execute(_FORGET)
        await connection.execute(_TAKE, {"id": amphora.id})
        await write_amphora(connection, amphora)

    await store.run(work)


_TRIM = sa.text(f"""
    WITH over AS (DELETE FROM silences WHERE told_at < now() - make_interval(secs => {WINDOW_S}))
    DELETE FROM replacements WHERE at < now() - make_interval(secs => {WINDOW_S})
""")


async def trim_failovers(store: Store) -> None:
    """Forget silences that nobody tells of any more, and replacements that count no more."""
    await store.execute(_TRIM)


class Silent(msgspec.Struct, frozen=True, kw_only=True):
    """Of a host: how many amphorae there are, how many are silent now."""

    host: str
    serving: int
    silent: int


async def list_silent(store: Store) -> tuple[Silent, ...]:
    """Return the hosts with silent amphorae."""
    rows = await store.execute(_HOSTS)
    return tuple(Silent(host=row.host, serving=row.serving, silent=row.silent) for row in rows if row.silent)
