"""The database in memory: the semantics of `statera/store`, statement by statement, each one an instant.

`tests/db/test_twin.py` draws sequences of statements and holds this and the real PostgreSQL to the same answers.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from statera.base.errand import Errand
from statera.base.errors import LostClaim, Refusal, Refused
from statera.base.reason import Reason
from statera.model.drafts import ROWS_OF, Decide
from statera.model.enums import OperatingStatus, ProvisioningStatus
from statera.model.status import StatusChange
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, LoadBalancer, Resource, Tree
from statera.model.work import Claim, Event, Snapshot
from tests.simulation.fleet import Fleet, is_free

UNSEEN_IN_TRAFFIC = (HealthMonitor, L7Policy, L7Rule)


class BalancerRow(msgspec.Struct, kw_only=True):
    """A load balancer with all below it, and its work."""

    tree: Tree
    due_at: dt.datetime
    epoch: int = 0
    lease_owner: str | None = None
    lease_until: dt.datetime | None = None
    failures: int = 0
    failing_since: dt.datetime | None = None
    last: tuple[int, Tree] | None = None
    """What was live at the newest generation that has settled, and its number."""
    seen: dict[str, Reason | None] = {}
    """By object: why its operating status is what it is. A reason of its edits, which stands in the tree, covers it."""

    def show(self) -> Tree:
        """Return the tree as it is read: an object without a reason of its edits shows the one of its status."""
        if not any(self.seen.values()):
            return self.tree
        balancer = _with_reason(self.tree.load_balancer, self.seen)
        return _replace_rows(self.tree, balancer, lambda one: _with_reason(one, self.seen))


class Database(Fleet):
    def __init__(self, now: Callable[[], dt.datetime]) -> None:
        super().__init__(now)
        self.balancers: dict[str, BalancerRow] = {}
        self.events: list[Event] = []
        self.rings: Callable[[], None] = lambda: None
        """Called for each transaction that wakes the workers."""
        self.waits_s: float | None = None
        """While it is away: how long whoever asks it waits in vain."""
        self.deaf_until: dt.datetime | None = None

    # Whether it answers

    def leave(self, waits_s: float) -> None:
        """Answer nobody any more, each after so many seconds."""
        self.waits_s = waits_s

    def come_back(self, deaf_s: float) -> None:
        """Answer again; nobody hears the bell for a while."""
        self.waits_s, self.deaf_until = None, self.after(deaf_s)

    def ring_bell(self) -> None:
        if self.deaf_until is None or self.deaf_until <= self.now():
            self.rings()

    def list_balancers(self) -> list[Tree]:
        return [row.tree for row in self.balancers.values()]

    def wake(self, load_balancer_ids: Collection[str]) -> None:
        woken = [self.balancers[one] for one in load_balancer_ids if one in self.balancers]
        now = self.now()
        for row in woken:
            row.due_at = min(row.due_at, now)
        if woken:
            self.ring_bell()

    def check_claim(self, claim: Claim) -> None:
        self._held(claim)

    def _held(self, claim: Claim) -> BalancerRow:
        row = self.balancers.get(claim.load_balancer_id)
        if row is None or row.epoch != claim.epoch:
            raise LostClaim(claim.load_balancer_id)
        return row

    # Edits

    def insert_tree(self, tree: Tree) -> None:
        if tree.load_balancer.id in self.balancers:
            raise Refused(Refusal.CONFLICT, "Already an entity with that specified id.")
        self.balancers[tree.load_balancer.id] = BalancerRow(tree=tree, due_at=self.now())
        self.ring_bell()

    def edit(self, load_balancer_id: str, decide: Decide) -> Tree:
        row = self.balancers.get(load_balancer_id)
        if row is None:
            raise Refused(Refusal.NOT_FOUND, f"Load Balancer {load_balancer_id} not found.")
        before = row.show()
        after = decide(before)
        if after != before:
            # The reason that an edit read may be one of a status, which is not an edit's to keep.
            bare = {one.id for one in (row.tree.load_balancer, *list_rows(row.tree)) if one.reason is None}
            row.tree = _replace_rows(
                after, _drop_reason(after.load_balancer, bare), lambda one: _drop_reason(one, bare)
            )
            row.due_at, row.failures, row.failing_since = self.now(), 0, None
            self.ring_bell()
        return after

    def load_trees(self, load_balancer_ids: Collection[str]) -> dict[str, Tree]:
        wanted = set(load_balancer_ids)
        return {one: row.show() for one, row in self.balancers.items() if one in wanted}

    # What health has seen

    def save_statuses(self, changes: Sequence[StatusChange]) -> None:
        for row in self.balancers.values():
            there = {(type(one), one.id): one for one in (row.tree.load_balancer, *list_rows(row.tree))}
            mine = [change for change in changes if (change.kind, change.id) in there]
            if not mine:
                continue
            told = {}
            row.tree = _show_statuses(row.tree, {change.id: change.operating_status for change in mine})
            for change in mine:
                own = there[change.kind, change.id].reason
                if own is None or change.reason is None or own.slug != change.reason.slug:
                    told[change.id] = change.reason
            row.seen = row.seen | told

    def list_certificate_ends(self, ids: Collection[str]) -> dict[str, dict[str, dt.datetime]]:
        wanted = [row.tree.load_balancer for one, row in self.balancers.items() if one in ids]
        return {one.id: dict(one.certificate_ends) for one in wanted}

    # Claims

    def claim_load_balancer(self, *, owner: str, lease_s: float) -> Claim | None:
        now = self.now()
        free = [row for row in self.balancers.values() if row.due_at <= now and is_free(row.lease_until, now)]
        if not free:
            return None
        row = min(free, key=lambda one: one.due_at)
        row.lease_owner, row.lease_until, row.epoch = owner, self.after(lease_s), row.epoch + 1
        row.due_at = row.lease_until
        return Claim(
            load_balancer_id=row.tree.load_balancer.id,
            owner=owner,
            epoch=row.epoch,
            lease_until=row.lease_until,
            failures=row.failures,
            failing_since=row.failing_since,
            errand=Errand(load_balancer_id=row.tree.load_balancer.id),
        )

    def renew_claim(self, claim: Claim, *, lease_s: float) -> Claim:
        row = self._held(claim)
        if row.lease_until is None:
            raise LostClaim(claim.load_balancer_id)
        until = self.after(lease_s)
        row.due_at = row.due_at if row.due_at < row.lease_until else until
        row.lease_until = until
        return msgspec.structs.replace(claim, lease_until=until)

    def load_snapshot(self, claim: Claim) -> Snapshot | None:
        if claim.load_balancer_id not in self.balancers:
            return None
        return Snapshot(tree=self._held(claim).show(), amphorae=self.list_amphorae(claim.load_balancer_id))

    def save_settled(
        self,
        claim: Claim,
        generation: int,
        *,
        recheck_s: float,
        history: Sequence[Event] = (),
        tree: Tree | None = None,
        keep: int = 1,
    ) -> bool:
        row = self._held(claim)
        balancer = row.tree.load_balancer
        reported = row.lease_until is not None and row.due_at < row.lease_until
        row.due_at = self.now() if balancer.generation > generation or reported else self.after(recheck_s)
        row.lease_owner, row.lease_until, row.failures, row.failing_since = None, None, 0, None
        changes: dict[str, Any] = {"observed_generation": max(balancer.observed_generation, generation)}
        if balancer.changed_at_generation <= generation and not balancer.deleting:
            if balancer.provisioning_status != ProvisioningStatus.ACTIVE:
                changes["updated_at"] = self.now()
            changes |= {"provisioning_status": ProvisioningStatus.ACTIVE, "reason": None}
        row.tree = _replace_rows(
            row.tree, msgspec.structs.replace(balancer, **changes), lambda one: self._settle(one, generation)
        )
        self.events += history
        if tree is not None and (row.last is None or row.last[0] < generation):
            row.last = (generation, tree)
        return row.due_at <= self.now()

    def load_newest_generation(self, load_balancer_id: str) -> Tree | None:
        row = self.balancers.get(load_balancer_id)
        return row.last[1] if row is not None and row.last is not None else None

    def _settle(self, row: Resource, generation: int) -> Resource | None:
        if row.changed_at_generation > generation:
            return row
        if row.deleting:
            return None
        if row.provisioning_status == ProvisioningStatus.ACTIVE and row.reason is None:
            return row
        changes: dict[str, Any] = {"provisioning_status": ProvisioningStatus.ACTIVE, "reason": None}
        if row.provisioning_status != ProvisioningStatus.PENDING_CREATE:
            changes["updated_at"] = self.now()
        if isinstance(row, UNSEEN_IN_TRAFFIC):
            changes["operating_status"] = OperatingStatus.ONLINE if row.admin_state_up else OperatingStatus.OFFLINE
        return msgspec.structs.replace(row, **changes)

    def save_failure(
        self,
        claim: Claim,
        generation: int,
        *,
        reason: Reason,
        retry_s: float,
        as_error: bool,
        history: Sequence[Event] = (),
    ) -> bool:
        row = self._held(claim)
        balancer = row.tree.load_balancer
        row.due_at = self.now() if balancer.generation > generation else self.after(retry_s)
        row.lease_owner, row.lease_until = None, None
        changed = balancer
        if balancer.changed_at_generation <= generation:
            row.failures += 1
            row.failing_since = row.failing_since or self.now()
            changed = self._fail(balancer, generation, reason, as_error)
        row.tree = _replace_rows(
            row.tree,
            changed,
            lambda one: (
                self._fail(one, generation, reason, as_error)
                if one.changed_at_generation <= generation and one.provisioning_status != ProvisioningStatus.ACTIVE
                else one
            ),
        )
        self.events += history
        return row.due_at <= self.now()

    def _fail(self, row: Any, generation: int, reason: Reason, as_error: bool) -> Any:
        known = row.reason.since if row.reason is not None and row.reason.slug == reason.slug else None
        dated = msgspec.structs.replace(
            reason,
            since=reason.since or known or self.now(),
            generation=generation if reason.generation is None else reason.generation,
        )
        changes: dict[str, Any] = {"reason": dated}
        if as_error:
            changes["provisioning_status"] = ProvisioningStatus.ERROR
        return msgspec.structs.replace(row, **changes)

    def remove_load_balancer(self, claim: Claim, *, history: Sequence[Event] = ()) -> None:
        self._held(claim)
        assert not self.list_amphorae(claim.load_balancer_id), "a load balancer is dropped before its amphorae"
        del self.balancers[claim.load_balancer_id]
        self.events += history

    def release_claim(self, claim: Claim) -> None:
        row = self.balancers.get(claim.load_balancer_id)
        if row is not None and row.epoch == claim.epoch:
            row.lease_owner, row.lease_until, row.due_at = None, None, self.now()
            self.ring_bell()

    def lift_epoch(self, claim: Claim, seen: int) -> None:
        row = self._held(claim)
        row.epoch, row.lease_owner, row.lease_until, row.due_at = seen + 1, None, None, self.now()

    def save_certificate_ends(self, claim: Claim, ends: Mapping[str, dt.datetime]) -> None:
        row = self._held(claim)
        balancer = msgspec.structs.replace(row.tree.load_balancer, certificate_ends=dict(ends))
        row.tree = msgspec.structs.replace(row.tree, load_balancer=balancer)

    def mark_due(self, load_balancer_ids: Sequence[str]) -> None:
        now = self.now()
        marked = [self.balancers[one] for one in load_balancer_ids if one in self.balancers]
        marked = [row for row in marked if row.due_at > now]
        for row in marked:
            row.due_at = now
        if marked:
            self.ring_bell()


def list_rows(tree: Tree) -> Iterator[Resource]:
    """Yield everything below the load balancer."""
    for name in ROWS_OF.values():
        yield from getattr(tree, name)


def _with_reason(row: Any, told: Mapping[str, Reason | None]) -> Any:
    reason = told.get(row.id)
    return row if row.reason is not None or reason is None else msgspec.structs.replace(row, reason=reason)


def _drop_reason(row: Any, bare: Collection[str]) -> Any:
    return msgspec.structs.replace(row, reason=None) if row.id in bare and row.reason is not None else row


def _show_statuses(tree: Tree, statuses: Mapping[str, OperatingStatus]) -> Tree:
    def change(row: Any) -> Any:
        return msgspec.structs.replace(row, operating_status=statuses[row.id]) if row.id in statuses else row

    return _replace_rows(tree, change(tree.load_balancer), change)


def _replace_rows(tree: Tree, balancer: LoadBalancer, change: Callable[[Resource], Resource | None]) -> Tree:
    rows: dict[str, Any] = {
        name: tuple(new for row in getattr(tree, name) if (new := change(row)) is not None) for name in ROWS_OF.values()
    }
    return Tree(load_balancer=balancer, **rows)
