"""Who may act for a load balancer, and what a pass writes when it ends.

A claim is one statement. Every later write of the pass carries the claim's epoch; when no row has that epoch any more,
somebody else has taken over and the write raises `LostClaim` and changes nothing.

A claim moves `due_at` to the end of its lease: so a dead worker's load balancer comes due by itself, and whatever makes
it due while the pass runs (an edit, a fault that health saw) shows as `due_at < lease_until` and outlives the pass.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.errand import Errand
from statera.base.errors import LostClaim
from statera.base.reason import Reason
from statera.model.amphora import Amphora
from statera.model.tree import Tree
from statera.model.work import Claim, Event, Snapshot
from statera.store.engine import AnyRow, Store
from statera.store.events import INSERT_EVENTS
from statera.store.generations import KEEP_GENERATION
from statera.store.rows import encode_told, json_list, json_object
from statera.store.tables import (
    amphorae,
    health_monitors,
    l7policies,
    l7rules,
    listeners,
    load_balancers,
    members,
    pools,
)
from statera.store.trees import CHANNEL, TREES_STATEMENT

_NOTED = f"noted AS ({INSERT_EVENTS}, held)"
"""A pass writes its history with its end, in one statement: what nobody may write any more leaves no trace either."""
_CHILD_TABLES = (listeners.name, pools.name, members.name, health_monitors.name, l7policies.name, l7rules.name)

_CLAIM = sa.text("""
    UPDATE load_balancers
    SET lease_owner = :owner, lease_until = now() + make_interval(secs => :lease_s),
        due_at = now() + make_interval(secs => :lease_s), epoch = epoch + 1
    WHERE id = (
        SELECT id FROM load_balancers
        WHERE due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
        ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING CAST(id AS text) AS load_balancer_id, lease_owner AS owner, epoch, lease_until, failures, failing_since,
        CASE WHEN generation > observed_generation THEN request_id ELSE '' END AS request_id,
        CASE WHEN generation > observed_generation THEN trace ELSE '' END AS trace
""")


async def claim_load_balancer(store: Store, *, owner: str, lease_s: float) -> Claim | None:
    """Take the load balancer that has been due longest, None when none is due and free."""
    rows = await store.execute(_CLAIM, {"owner": owner, "lease_s": lease_s})
    if not rows:
        return None
    told = dict(rows[0]._mapping)
    asked = {name: told.pop(name) for name in ("request_id", "trace")}
    return Claim(**told, errand=Errand(load_balancer_id=told["load_balancer_id"], **asked))


_RENEW = sa.text("""
    UPDATE load_balancers
    SET lease_until = now() + make_interval(secs => :lease_s),
        due_at = CASE WHEN due_at < lease_until THEN due_at ELSE now() + make_interval(secs => :lease_s) END
    WHERE id = :id AND epoch = :epoch AND lease_until IS NOT NULL
    RETURNING lease_until
""")


async def renew_claim(store: Store, claim: Claim, *, lease_s: float) -> Claim:
    """Hold the claim longer. Raises `LostClaim`."""
    row = await _write(store, claim, _RENEW, lease_s=lease_s)
    return msgspec.structs.replace(claim, lease_until=row.lease_until)


_SNAPSHOT: sa.Select[Any] = TREES_STATEMENT.add_columns(
    load_balancers.c.epoch,
    sa.cast(
        sa.select(json_list(json_object(amphorae, Amphora)))
        .where(amphorae.c.load_balancer_id == load_balancers.c.id)
        .scalar_subquery(),
        sa.Text,
    ),
)


async def load_snapshot(store: Store, claim: Claim) -> Snapshot | None:
    """Read desired state and amphora rows as of one instant, None when the load balancer is gone.

    One statement sees one instant, as REPEATABLE READ would. Raises `LostClaim`.
    """
    rows = await store.execute(_SNAPSHOT, {"ids": [claim.load_balancer_id]})
    if not rows:
        return None
    tree, epoch, found = rows[0]
    if epoch != claim.epoch:
        raise LostClaim(claim.load_balancer_id)
    by_age = sorted(
        msgspec.json.decode(found, type=list[Amphora]), key=lambda amphora: (amphora.created_at, amphora.id)
    )
    return Snapshot(tree=msgspec.json.decode(tree, type=Tree), amphorae=tuple(by_age))


def _settle_statement() -> sa.TextClause:
    parts = [
        f"""
        gone_{table} AS (
            DELETE FROM {table} USING held
            WHERE load_balancer_id = held.id AND deleting AND changed_at_generation <= CAST(:generation AS bigint)
        ), settled_{table} AS (
            UPDATE {table}
            SET provisioning_status = 'ACTIVE', reason = NULL, {_first_operating_status(table)}
                updated_at = CASE WHEN provisioning_status = 'PENDING_CREATE' THEN updated_at ELSE now() END
            FROM held
            WHERE load_balancer_id = held.id AND NOT deleting AND changed_at_generation <= CAST(:generation AS bigint)
                AND (provisioning_status <> 'ACTIVE' OR reason IS NOT NULL)
        )"""
        for table in _CHILD_TABLES
    ]
    return sa.text(f"""
    WITH held AS (
        UPDATE load_balancers
        SET observed_generation = greatest(observed_generation, CAST(:generation AS bigint)),
            due_at = CASE
                WHEN generation > CAST(:generation AS bigint) OR due_at < lease_until THEN now()
                ELSE now() + make_interval(secs => :recheck_s) END,
            lease_until = NULL, lease_owner = NULL, failures = 0, failing_since = NULL,
            provisioning_status = CASE WHEN {_SETTLES} THEN 'ACTIVE' ELSE provisioning_status END,
            reason = CASE WHEN {_SETTLES} THEN NULL ELSE reason END,
            updated_at = CASE WHEN {_SETTLES} AND provisioning_status <> 'ACTIVE' THEN now() ELSE updated_at END
        WHERE id = :id AND epoch = :epoch
        RETURNING id, due_at <= now() AS due
    ), {", ".join([*parts, KEEP_GENERATION, _NOTED])}
    SELECT due FROM held
    """)


_SETTLES = "changed_at_generation <= CAST(:generation AS bigint) AND NOT deleting"


def _first_operating_status(table: str) -> str:
    # What is not seen in traffic is ONLINE once active, OFFLINE when switched off (rules.md section 7).
    if table not in (health_monitors.name, l7policies.name, l7rules.name):
        return ""
    return "operating_status = CASE WHEN admin_state_up THEN 'ONLINE' ELSE 'OFFLINE' END,"


_SETTLE = _settle_statement()


async def save_settled(
    store: Store,
    claim: Claim,
    generation: int,
    *,
    recheck_s: float,
    history: Sequence[Event] = (),
    tree: Tree | None = None,
    keep: int = 1,
) -> bool:
    """Mark all that was wanted at `generation` as true, and let go of the claim. Raises `LostClaim`.

    `tree` is kept as what was live then, with the `keep` - 1 before it. Return whether it is due again at once, because
    of later edits or because something was reported meanwhile.
    """
    # The children's statements take their rows through `held`, so the load balancer's row is locked before any of them,
    # and rows that an edit changed while this waited for the lock are judged again by their new stamp.
    told = None if tree is None else encode_told(tree)
    values = {"generation": generation, "recheck_s": recheck_s, "rows": encode_told(history), "tree": told}
    row = await _write(store, claim, _SETTLE, **values, keep=keep)
    return bool(row.due)


_SAVE_ENDS = sa.text("""
    UPDATE load_balancers SET certificate_ends = CAST(:ends AS jsonb) WHERE id = :id AND epoch = :epoch RETURNING id
""")


async def save_certificate_ends(store: Store, claim: Claim, ends: Mapping[str, dt.datetime]) -> None:
    """Write when the certificates end that a pass has read, by reference. Raises `LostClaim`."""
    await _write(store, claim, _SAVE_ENDS, ends=encode_told(ends))


def _dated_reason(table: str) -> str:
    # The same trouble keeps the time when it began.
    return f"""jsonb_build_object(
        'slug', CAST(:slug AS text), 'sentence', CAST(:sentence AS text), 'generation', CAST(:caused_by AS bigint),
        'since', coalesce(
            CAST(:since AS text), CASE WHEN {table}.reason ->> 'slug' = :slug THEN {table}.reason ->> 'since' END,
            to_json(now()) #>> '{{}}'
        ))"""


def _failure_statement() -> sa.TextClause:
    parts = [
        f"""
        failed_{table} AS (
            UPDATE {table}
            SET reason = {_dated_reason(table)},
                provisioning_status = CASE WHEN :as_error THEN 'ERROR' ELSE provisioning_status END
            FROM held
            WHERE load_balancer_id = held.id AND changed_at_generation <= CAST(:generation AS bigint)
                AND provisioning_status <> 'ACTIVE'
        )"""
        for table in _CHILD_TABLES
    ]
    failed = "changed_at_generation <= CAST(:generation AS bigint)"
    return sa.text(f"""
    WITH held AS (
        UPDATE load_balancers
        SET due_at = CASE
                WHEN generation > CAST(:generation AS bigint) THEN now()
                ELSE now() + make_interval(secs => :retry_s) END,
            lease_until = NULL, lease_owner = NULL,
            failures = CASE WHEN {failed} THEN failures + 1 ELSE failures END,
            failing_since = CASE WHEN {failed} THEN coalesce(failing_since, now()) ELSE failing_since END,
            reason = CASE WHEN {failed} THEN {_dated_reason(load_balancers.name)} ELSE reason END,
            provisioning_status = CASE WHEN {failed} AND :as_error THEN 'ERROR' ELSE provisioning_status END
        WHERE id = :id AND epoch = :epoch
        RETURNING id, due_at <= now() AS due
    ), {", ".join([*parts, _NOTED])}
    SELECT due FROM held
    """)


_FAIL = _failure_statement()


async def save_failure(
    store: Store,
    claim: Claim,
    generation: int,
    *,
    reason: Reason,
    retry_s: float,
    as_error: bool,
    history: Sequence[Event] = (),
) -> bool:
    """Record why a pass failed and when to try next, and let go of the claim. Raises `LostClaim`.

    The load balancer and every object that is not ACTIVE show the reason, with `as_error` as ERROR. Objects of edits
    after `generation` stay as they are, and such edits make it due at once. An undated reason keeps the time of the
    same slug. Return whether it is due again at once.
    """
    row = await _write(
        store,
        claim,
        _FAIL,
        generation=generation,
        slug=reason.slug,
        sentence=reason.sentence.replace("\x00", "?"),
        since=reason.since.isoformat() if reason.since else None,
        caused_by=generation if reason.generation is None else reason.generation,
        retry_s=retry_s,
        as_error=as_error,
        rows=encode_told(history),
    )
    return bool(row.due)


_REMOVE = sa.text(f"""
    WITH held AS (DELETE FROM load_balancers WHERE id = :id AND epoch = :epoch RETURNING id), {_NOTED}
    SELECT id FROM held
""")


async def remove_load_balancer(store: Store, claim: Claim, *, history: Sequence[Event] = ()) -> None:
    """Delete the row and all below it; its amphorae must be gone. Raises `LostClaim`."""
    await _write(store, claim, _REMOVE, rows=encode_told(history))


_RELEASE = sa.text(f"""
    WITH held AS (
        UPDATE load_balancers SET lease_until = NULL, lease_owner = NULL, due_at = now()
        WHERE id = :id AND epoch = :epoch RETURNING id
    )
    SELECT pg_notify('{CHANNEL}', '') FROM held
""")


async def release_claim(store: Store, claim: Claim) -> None:
    """Let go so that another worker can take it at once; a lost claim is fine."""
    await store.execute(_RELEASE, {"id": claim.load_balancer_id, "epoch": claim.epoch})


_LIFT = sa.text("""
    UPDATE load_balancers SET epoch = :seen + 1, lease_until = NULL, lease_owner = NULL, due_at = now()
    WHERE id = :id AND epoch = :epoch
    RETURNING id
""")


async def lift_epoch(store: Store, claim: Claim, seen: int) -> None:
    """Raise the epoch above one that an agent has seen, and let go of the claim. Raises `LostClaim`.

    Agents are ahead only after the database went back to an older state: they would refuse every claim for long.
    """
    await _write(store, claim, _LIFT, seen=seen)


_MARK = sa.text(f"""
    WITH marked AS (
        UPDATE load_balancers SET due_at = now()
        WHERE id IN (
            SELECT id FROM load_balancers WHERE id = ANY(CAST(:ids AS uuid[])) AND due_at > now() ORDER BY id FOR UPDATE
        )
        RETURNING id
    )
    SELECT pg_notify('{CHANNEL}', '') FROM marked LIMIT 1
""")


async def mark_due(store: Store, load_balancer_ids: Sequence[str]) -> None:
    """Have these looked at again soon; one that is being worked on comes due again when its pass ends."""
    if load_balancer_ids:
        await store.execute(_MARK, {"ids": list(load_balancer_ids)})


async def list_load_balancer_ids(store: Store) -> set[str]:
    """Return the ids of all load balancers that exist."""
    return {row.id for row in await store.execute(sa.select(load_balancers.c.id))}


async def _write(store: Store, claim: Claim, statement: sa.TextClause, **values: Any) -> AnyRow:
    rows = await store.execute(statement, {"id": claim.load_balancer_id, "epoch": claim.epoch, **values})
    if not rows:
        raise LostClaim(claim.load_balancer_id)
    return rows[0]


async def fence(connection: AsyncConnection, claim: Claim) -> None:
    """Make the rest of this transaction conditional on the claim. Raises `LostClaim`."""
    mine = (load_balancers.c.id == claim.load_balancer_id) & (load_balancers.c.epoch == claim.epoch)
    held = await connection.execute(sa.select(load_balancers.c.id).where(mine).with_for_update())
    if held.one_or_none() is None:
        raise LostClaim(claim.load_balancer_id)
