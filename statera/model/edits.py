"""Edits as pure functions: `decide(tree) -> tree`, which the store applies to the newest tree with the row locked.

Each builder returns such a decision. It checks what the rest of the tree allows (`rules.py`), puts or marks the rows
that the edit names, marks what stands above them as pending (rules.md section 7), stamps all of them with the new
generation and raises the generation by one. A decision that changes nothing returns the tree as it came.

Rows in deletion stay in the tree until the reconciler settles: they take no part in checks and cannot be edited.
"""

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import msgspec

from statera.base.errors import Refusal, Refused
from statera.model.drafts import ROWS_OF, Draft, find_row, is_busy, open_draft, refuse_immutable, require_wanted
from statera.model.drafts import Change as Change
from statera.model.drafts import Decide as Decide
from statera.model.drafts import Terms as Terms
from statera.model.enums import OperatingStatus, ProvisioningStatus
from statera.model.rules import (
    check_allowed_cidrs,
    check_listener_pool,
    check_listener_port,
    check_member_place,
    check_monitor_type,
    check_pool_in_use,
    place_of,
)
from statera.model.tree import HealthMonitor, Listener, LoadBalancer, Member, Pool, Tree

BelowPool = TypeVar("BelowPool", Member, HealthMonitor)
DELETABLE = (ProvisioningStatus.ACTIVE, ProvisioningStatus.ERROR)


class MemberWish(msgspec.Struct, frozen=True, kw_only=True):
    """One member of a whole set: what to add if its place is new, and how to change the one that holds the place."""

    fresh: Member
    change: Change[Member]


# Load balancers


def plant_tree(load_balancer: LoadBalancer, decisions: Sequence[Decide]) -> Tree:
    """Return a new load balancer's tree, grown by the same decisions as later edits, all at generation 1."""
    tree = Tree(load_balancer=msgspec.structs.replace(load_balancer, generation=0))
    for decide in decisions:
        tree = decide(tree)
    created = {"provisioning_status": ProvisioningStatus.PENDING_CREATE, "changed_at_generation": 1, "updated_at": None}
    rows: dict[str, Any] = {
        name: tuple(msgspec.structs.replace(row, **created) for row in getattr(tree, name)) for name in ROWS_OF.values()
    }
    return Tree(load_balancer=msgspec.structs.replace(tree.load_balancer, generation=1, **created), **rows)


def update_load_balancer(change: Change[LoadBalancer], terms: Terms) -> Decide:
    """Change the load balancer itself. Refuses (CONFLICT) while it is being deleted."""

    def decide(tree: Tree) -> Tree:
        _require_state(tree.load_balancer, (ProvisioningStatus.ACTIVE,) if terms.strict else None)
        draft = Draft(tree, terms.now)
        draft.load_balancer = change(tree.load_balancer)
        return draft.finish()

    return decide


def delete_load_balancer(*, cascade: bool, terms: Terms) -> Decide:
    """Want the load balancer gone, with `cascade` all below it too. Refuses (INVALID) when it has children without."""

    def decide(tree: Tree) -> Tree:
        balancer = tree.load_balancer
        if terms.strict:
            _require_state(balancer, DELETABLE)
        elif balancer.deleting:
            return tree
        if not cascade and any(not child.deleting for child in (*tree.listeners, *tree.pools)):
            why = f"Validation failure: Cannot delete Load Balancer {balancer.id} - it has children"
            raise Refused(Refusal.INVALID, why)
        draft = Draft(tree, terms.now)
        draft.load_balancer = msgspec.structs.replace(balancer, deleting=True)
        return draft.finish()

    return decide


def fail_over_load_balancer(amphora_ids: Sequence[str], terms: Terms) -> Decide:
    """Want all amphorae, those named, replaced. Refuses (CONFLICT) while it is being deleted."""

    def decide(tree: Tree) -> Tree:
        _require_state(tree.load_balancer, DELETABLE if terms.strict else None)
        draft = Draft(tree, terms.now)
        draft.load_balancer = msgspec.structs.replace(tree.load_balancer, amphorae_to_replace=tuple(amphora_ids))
        return draft.finish()

    return decide


def fail_over_amphora(amphora_id: str, known_ids: Collection[str], terms: Terms) -> Decide:
    """Want one amphora replaced. `known_ids` are those that exist: others need not be remembered any longer."""

    def decide(tree: Tree) -> Tree:
        draft = open_draft(tree, terms)
        kept = [one for one in tree.load_balancer.amphorae_to_replace if one in known_ids and one != amphora_id]
        draft.load_balancer = msgspec.structs.replace(tree.load_balancer, amphorae_to_replace=(*kept, amphora_id))
        return draft.finish()

    return decide


def _require_state(balancer: LoadBalancer, allowed: Sequence[ProvisioningStatus] | None) -> None:
    status = balancer.provisioning_status
    if balancer.deleting or (allowed is not None and status not in allowed):
        shown = ProvisioningStatus.PENDING_DELETE if balancer.deleting else status
        raise Refused(Refusal.CONFLICT, f"Invalid state {shown} of loadbalancer resource {balancer.id}")


# Listeners


def create_listener(listener: Listener, terms: Terms) -> Decide:
    """Add a listener."""

    def decide(tree: Tree) -> Tree:
        if listener.default_pool_id is not None:
            find_row(tree, Pool, listener.default_pool_id)
        draft = open_draft(tree, terms)
        _check_listener(tree, listener)
        draft.add(listener)
        return draft.finish()

    return decide


def update_listener(listener_id: str, change: Change[Listener], terms: Terms) -> Decide:
    """Change a listener."""

    def decide(tree: Tree) -> Tree:
        listener = find_row(tree, Listener, listener_id)
        wanted = change(listener)
        if wanted.default_pool_id is not None and wanted.default_pool_id != listener.default_pool_id:
            find_row(tree, Pool, wanted.default_pool_id)
        draft = open_draft(tree, terms)
        require_wanted(listener)
        _check_listener(tree, wanted)
        draft.change(wanted)
        return draft.finish()

    return decide


def delete_listener(listener_id: str, terms: Terms) -> Decide:
    """Want a listener gone; its default pool stays."""

    def decide(tree: Tree) -> Tree:
        listener = find_row(tree, Listener, listener_id)
        draft = open_draft(tree, terms)
        if listener.deleting:
            return tree
        draft.delete(listener)
        return draft.finish()

    return decide


def _check_listener(tree: Tree, listener: Listener) -> None:
    check_listener_port(tree, listener)
    check_allowed_cidrs(tree.load_balancer, listener)
    pool = tree.find_pool(listener.default_pool_id) if listener.default_pool_id else None
    if pool is not None:
        check_listener_pool(listener, pool)


# Pools


def create_pool(pool: Pool, listener_id: str | None, terms: Terms) -> Decide:
    """Add a pool, as the default pool of a listener if one is named."""

    def decide(tree: Tree) -> Tree:
        listener = None if listener_id is None else find_row(tree, Listener, listener_id)
        draft = open_draft(tree, terms)
        draft.add(pool)
        if listener is not None:
            require_wanted(listener)
            check_listener_pool(listener, pool)
            occupant = tree.find_pool(listener.default_pool_id) if listener.default_pool_id else None
            if occupant is not None and not occupant.deleting:
                raise Refused(Refusal.CONFLICT, "This listener already has a default pool")
            draft.change(msgspec.structs.replace(listener, default_pool_id=pool.id))
        return draft.finish()

    return decide


def update_pool(pool_id: str, change: Change[Pool], terms: Terms) -> Decide:
    """Change a pool."""

    def decide(tree: Tree) -> Tree:
        pool = find_row(tree, Pool, pool_id)
        wanted = change(pool)
        draft = open_draft(tree, terms)
        require_wanted(pool)
        draft.change(wanted)
        draft.touch_users(pool_id)
        return draft.finish()

    return decide


def delete_pool(pool_id: str, terms: Terms) -> Decide:
    """Want a pool gone with its members and monitor; listeners that use it have no default pool from now on."""

    def decide(tree: Tree) -> Tree:
        pool = find_row(tree, Pool, pool_id)
        draft = open_draft(tree, terms)
        if pool.deleting:
            return tree
        check_pool_in_use(tree, pool)
        draft.delete(pool)
        for listener in tree.listeners:
            if listener.default_pool_id == pool_id:
                draft.change(msgspec.structs.replace(listener, default_pool_id=None))
        return draft.finish()

    return decide


# Members


def create_member(member: Member, terms: Terms) -> Decide:
    """Add a member to its pool."""

    def decide(tree: Tree) -> Tree:
        draft = _open_pool(tree, member.pool_id, terms)
        check_member_place(tree.list_members(member.pool_id), member)
        draft.add(_with_first_status(tree, member))
        return draft.finish()

    return decide


def update_member(member_id: str, change: Change[Member], terms: Terms) -> Decide:
    """Change a member."""
    return _update_below_pool(Member, member_id, change, terms)


def delete_member(member_id: str, terms: Terms) -> Decide:
    """Want a member gone."""
    return _delete_below_pool(Member, member_id, terms)


def set_members(pool_id: str, wishes: Sequence[MemberWish], *, additive_only: bool, terms: Terms) -> Decide:
    """Replace a pool's whole member set: change those whose place is wished, add the new, drop the rest.

    With `additive_only` the rest stays. Refuses the same place twice: (CONFLICT) a new one, (INVALID) an existing one.
    """

    def decide(tree: Tree) -> Tree:
        draft = _open_pool(tree, pool_id, terms)
        present = [member for member in tree.list_members(pool_id) if not member.deleting]
        if not wishes and (additive_only or not present):
            return tree
        known = {place_of(member): member for member in present}
        seen: set[tuple[str, int]] = set()
        for wish in wishes:
            place = place_of(wish.fresh)
            old = known.get(place)
            if place in seen:
                _refuse_twice(wish.fresh, is_known=old is not None)
            seen.add(place)
            if old is None:
                draft.add(_with_first_status(tree, wish.fresh))
            else:
                draft.change(wish.change(old))
        for place, member in known.items():
            if place not in seen and not additive_only:
                draft.delete(member)
        return draft.finish()

    return decide


def _refuse_twice(member: Member, *, is_known: bool) -> None:
    if is_known:
        raise Refused(Refusal.INVALID, "Validation failure: Member must be updated only once in the same request.")
    check_member_place((member,), msgspec.structs.replace(member, id=""))


def _with_first_status(tree: Tree, member: Member) -> Member:
    is_checked = tree.find_health_monitor(member.pool_id) is not None
    first = OperatingStatus.OFFLINE if is_checked else OperatingStatus.NO_MONITOR
    return msgspec.structs.replace(member, operating_status=first)


# Health monitors


def create_health_monitor(monitor: HealthMonitor, terms: Terms) -> Decide:
    """Give a pool its health monitor."""

    def decide(tree: Tree) -> Tree:
        pool = find_row(tree, Pool, monitor.pool_id)
        check_monitor_type(pool, monitor)
        draft = _open_pool(tree, monitor.pool_id, terms)
        if tree.find_health_monitor(monitor.pool_id) is not None:
            raise Refused(Refusal.CONFLICT, "This pool already has a health monitor")
        draft.add(monitor)
        return draft.finish()

    return decide


def update_health_monitor(monitor_id: str, change: Change[HealthMonitor], terms: Terms) -> Decide:
    """Change a health monitor."""
    return _update_below_pool(HealthMonitor, monitor_id, change, terms)


def delete_health_monitor(monitor_id: str, terms: Terms) -> Decide:
    """Want a health monitor gone."""
    return _delete_below_pool(HealthMonitor, monitor_id, terms)


# What they have in common


def _update_below_pool(kind: type[BelowPool], object_id: str, change: Change[BelowPool], terms: Terms) -> Decide:
    def decide(tree: Tree) -> Tree:
        row = find_row(tree, kind, object_id)
        wanted = change(row)
        draft = _open_pool(tree, row.pool_id, terms)
        require_wanted(row)
        draft.change(wanted)
        return draft.finish()

    return decide


def _delete_below_pool(kind: type[BelowPool], object_id: str, terms: Terms) -> Decide:
    def decide(tree: Tree) -> Tree:
        row = find_row(tree, kind, object_id)
        draft = _open_pool(tree, row.pool_id, terms, deleting_too=True)
        if row.deleting or find_row(tree, Pool, row.pool_id).deleting:
            return tree
        draft.delete(row)
        return draft.finish()

    return decide


def _open_pool(tree: Tree, pool_id: str, terms: Terms, *, deleting_too: bool = False) -> Draft:
    """Begin an edit below a pool: the pool and the listeners that use it become pending with it."""
    pool = find_row(tree, Pool, pool_id)
    draft = open_draft(tree, terms)
    if is_busy(tree, pool, terms) or (pool.deleting and not deleting_too):
        refuse_immutable(pool)
    draft.change(pool)
    draft.touch_users(pool_id)
    return draft
