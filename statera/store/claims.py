"""Who may act for a load balancer, and what a pass writes when it ends.

A claim is one statement. Every later write of the pass carries the claim's epoch; when no row has that epoch any more,
somebody else has taken over and the write raises `LostClaim` and changes nothing.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.errors import LostClaim
from statera.base.reason import Reason
from statera.model.amphora import Amphora
from statera.model.enums import OperatingStatus, ProvisioningStatus
from statera.model.work import Claim, Snapshot
from statera.store.engine import Store
from statera.store.rows import json_object
from statera.store.tables import amphorae, health_monitors, listeners, load_balancers, members, pools
from statera.store.trees import fetch_tree, ring

_CHILD_TABLES = (listeners, pools, members, health_monitors)
_PENDING = (ProvisioningStatus.PENDING_CREATE, ProvisioningStatus.PENDING_UPDATE)

_CLAIM = sa.text("""
UPDATE load_balancers SET lease_owner = :owner, lease_until = now() + :lease_s * interval '1 second', epoch = epoch + 1
WHERE id = (
    SELECT id FROM load_balancers
    WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id::text, epoch, lease_until, failures, failing_since
""")


async def claim_load_balancer(store: Store, *, owner: str, lease_s: float) -> Claim | None:
    """Take the load balancer that has been due longest, None when none is due and free."""
    async with store.write() as connection:
        row = (await connection.execute(_CLAIM, {"owner": owner, "lease_s": lease_s})).one_or_none()
    if row is None:
        return None
    return Claim(
        load_balancer_id=row.id,
        owner=owner,
        epoch=row.epoch,
        lease_until=row.lease_until,
        failures=row.failures,
        failing_since=row.failing_since,
    )


async def renew_claim(store: Store, claim: Claim, *, lease_s: float) -> Claim:
    """Hold the claim longer. Raises `LostClaim`."""
    until = sa.func.now() + sa.text("make_interval(secs => :lease_s)").bindparams(lease_s=lease_s)
    async with store.write() as connection:
        statement = _fenced(claim).values(lease_until=until).returning(load_balancers.c.lease_until)
        row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise LostClaim(claim.load_balancer_id)
    return msgspec.structs.replace(claim, lease_until=row.lease_until)


async def load_snapshot(store: Store, claim: Claim) -> Snapshot | None:
    """Read desired state and amphora rows as of one instant, None when the load balancer is gone."""
    async with store.read(isolation="REPEATABLE READ") as connection:
        tree = await fetch_tree(connection, claim.load_balancer_id)
        if tree is None:
            return None
        rows = sa.select(sa.cast(sa.func.json_agg(json_object(amphorae, Amphora)), sa.Text))
        text = (await connection.execute(rows.where(amphorae.c.load_balancer_id == claim.load_balancer_id))).scalar()
    found = msgspec.json.decode(text, type=tuple[Amphora, ...]) if text else ()
    return Snapshot(tree=tree, amphorae=tuple(sorted(found, key=lambda amphora: amphora.id)))


async def save_settled(store: Store, claim: Claim, generation: int, *, recheck_s: float) -> bool:
    """Mark all that was wanted at `generation` as true; return whether later edits wait. Raises `LostClaim`."""
    async with store.write() as connection:
        current = await _lock(connection, claim)
        await _settle_children(connection, claim.load_balancer_id, generation)
        more = current > generation
        status: dict[str, Any] = {} if more else {"provisioning_status": ProvisioningStatus.ACTIVE, "reason": sa.null()}
        due = sa.func.now() if more else sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, recheck_s)
        await connection.execute(
            _fenced(claim).values(
                observed_generation=sa.func.greatest(load_balancers.c.observed_generation, generation),
                due_at=due,
                lease_until=None,
                lease_owner=None,
                failures=0,
                failing_since=None,
                updated_at=sa.case(
                    (load_balancers.c.provisioning_status != ProvisioningStatus.ACTIVE, sa.func.now()),
                    else_=load_balancers.c.updated_at,
                ),
                **status,
            )
        )
    return more


async def _settle_children(connection: AsyncConnection, load_balancer_id: str, generation: int) -> None:
    for table in _CHILD_TABLES:
        mine = (table.c.load_balancer_id == load_balancer_id) & (table.c.changed_at_generation <= generation)
        await connection.execute(sa.delete(table).where(mine & table.c.deleting))
        await connection.execute(
            sa.update(table)
            .where(mine & (table.c.provisioning_status != ProvisioningStatus.ACTIVE))
            .values(
                provisioning_status=ProvisioningStatus.ACTIVE,
                updated_at=sa.case(
                    (table.c.provisioning_status != ProvisioningStatus.PENDING_CREATE, sa.func.now()),
                    else_=table.c.updated_at,
                ),
                reason=sa.null(),
                **_first_operating_status(table),
            )
        )


def _first_operating_status(table: sa.Table) -> dict[str, Any]:
    # Monitors are not seen in traffic: they are ONLINE once active, OFFLINE when switched off (rules.md section 7).
    if table is not health_monitors:
        return {}
    up, down = OperatingStatus.ONLINE, OperatingStatus.OFFLINE
    return {"operating_status": sa.case((table.c.admin_state_up, up), else_=down)}


async def save_failure(
    store: Store, claim: Claim, generation: int, *, reason: Reason, retry_s: float, as_error: bool
) -> None:
    """Record why a pass failed and when to try next; `as_error` shows it as ERROR. Raises `LostClaim`.

    Edits accepted after `generation` make it due at once instead, and their objects stay as they are.
    """
    shown = {"reason": msgspec.to_builtins(reason)}
    if as_error:
        shown["provisioning_status"] = ProvisioningStatus.ERROR
    async with store.write() as connection:
        current = await _lock(connection, claim)
        for table in _CHILD_TABLES:
            mine = (table.c.load_balancer_id == claim.load_balancer_id) & (table.c.changed_at_generation <= generation)
            pending = table.c.provisioning_status.in_(_PENDING)
            await connection.execute(sa.update(table).where(mine & pending).values(shown))
        later = current > generation
        retry = sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, retry_s)
        await connection.execute(
            _fenced(claim).values(
                due_at=sa.func.now() if later else retry,
                lease_until=None,
                lease_owner=None,
                failures=load_balancers.c.failures + 1,
                failing_since=sa.func.coalesce(load_balancers.c.failing_since, sa.func.now()),
                **({} if later else shown),
            )
        )


async def remove_load_balancer(store: Store, claim: Claim) -> None:
    """Delete the row and all below it. Raises `LostClaim`."""
    async with store.write() as connection:
        await _lock(connection, claim)
        mine = load_balancers.c.id == claim.load_balancer_id
        await connection.execute(sa.delete(load_balancers).where(mine))


async def release_claim(store: Store, claim: Claim) -> None:
    """Let go so that another worker can take it at once; a lost claim is fine."""
    async with store.write() as connection:
        await connection.execute(_fenced(claim).values(lease_until=None, lease_owner=None, due_at=sa.func.now()))
        await ring(connection)


async def mark_due(store: Store, load_balancer_ids: Sequence[str]) -> None:
    """Have these looked at again soon."""
    if not load_balancer_ids:
        return
    async with store.write() as connection:
        mine = load_balancers.c.id.in_(load_balancer_ids) & (load_balancers.c.due_at > sa.func.now())
        await connection.execute(sa.update(load_balancers).where(mine).values(due_at=sa.func.now()))
        await ring(connection)


async def list_load_balancer_ids(store: Store) -> set[str]:
    """Return the ids of all load balancers that exist."""
    async with store.read() as connection:
        return set((await connection.execute(sa.select(load_balancers.c.id))).scalars())


def _fenced(claim: Claim) -> sa.Update:
    mine = (load_balancers.c.id == claim.load_balancer_id) & (load_balancers.c.epoch == claim.epoch)
    return sa.update(load_balancers).where(mine)


async def _lock(connection: AsyncConnection, claim: Claim) -> int:
    """Lock the row if the claim still holds, and return its generation. Raises `LostClaim`."""
    mine = (load_balancers.c.id == claim.load_balancer_id) & (load_balancers.c.epoch == claim.epoch)
    row = (await connection.execute(sa.select(load_balancers.c.generation).where(mine).with_for_update())).one_or_none()
    if row is None:
        raise LostClaim(claim.load_balancer_id)
    return int(row.generation)


async def fence(connection: AsyncConnection, claim: Claim) -> None:
    """Make the rest of this transaction conditional on the claim. Raises `LostClaim`."""
    await _lock(connection, claim)
