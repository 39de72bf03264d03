"""The database in memory: the semantics of `statera/store`, statement by statement, each one an instant.

`tests/db/test_twin.py` draws sequences of statements and holds this and the real PostgreSQL to the same answers.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from statera.base.errand import Errand
from statera.base.errors import LostClaim, Refusal, Refused, Transient
from statera.base.reason import Reason
from statera.base.secret import Secret
from statera.model.amphora import Amphora, Spare
from statera.model.deployment import Deployment
from statera.model.drafts import ROWS_OF, Decide
from statera.model.draining import Drain, Stay
from statera.model.enums import AmphoraStatus, OperatingStatus, ProvisioningStatus
from statera.model.failover import MINUTE_S, WINDOW_S, Budget, Limits, Lookout, Voices
from statera.model.observed import Silence
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, LoadBalancer, Resource, Tree
from statera.model.work import ChoreClaim, Claim, Event, Snapshot

SPEAKING = (AmphoraStatus.READY, AmphoraStatus.ALLOCATED, AmphoraStatus.ERROR)
SILENCE_COUNTS_S = 20.0
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


class ChoreRow(msgspec.Struct, kw_only=True):
    due_at: dt.datetime
    lease_owner: str | None = None
    lease_until: dt.datetime | None = None
    memory: dict[str, dt.datetime] = {}
    reason: Reason | None = None


class Database:
    def __init__(self, now: Callable[[], dt.datetime]) -> None:
        self.now = now
        self.balancers: dict[str, BalancerRow] = {}
        self.amphorae: dict[str, Amphora] = {}
        self.chores: dict[str, ChoreRow] = {}
        self.mark = 0
        self.held_since: dt.datetime | None = None
        self.events: list[Event] = []
        self.silences: dict[str, tuple[dt.datetime, dt.datetime]] = {}
        """By amphora: since when it is silent, and when a health process said so last."""
        self.replacements: dict[str, dt.datetime] = {}
        self.gives_up: Callable[[Amphora], None] = lambda _: None
        """Called with each amphora that is to be replaced without anybody having asked."""
        self.rings: Callable[[], None] = lambda: None
        """Called for each transaction that wakes the workers."""

    def _after(self, seconds: float) -> dt.datetime:
        return self.now() + dt.timedelta(seconds=seconds)

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
        self.rings()

    def edit(self, load_balancer_id: str, decide: Decide) -> Tree:
        row = self.balancers.get(load_balancer_id)
        if row is None:
            raise Refused(Refusal.NOT_FOUND, f"Load Balancer {load_balancer_id} not found.")
        after = decide(row.tree)
        if after != row.tree:
            row.tree, row.due_at, row.failures, row.failing_since = after, self.now(), 0, None
            self.rings()
        return after

    def load_tree(self, load_balancer_id: str) -> Tree | None:
        row = self.balancers.get(load_balancer_id)
        return row.tree if row is not None else None

    # Claims

    def claim_load_balancer(self, *, owner: str, lease_s: float) -> Claim | None:
        now = self.now()
        free = [row for row in self.balancers.values() if row.due_at <= now and _is_free(row.lease_until, now)]
        if not free:
            return None
        row = min(free, key=lambda one: one.due_at)
        row.lease_owner, row.lease_until, row.epoch = owner, self._after(lease_s), row.epoch + 1
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
        until = self._after(lease_s)
        row.due_at = row.due_at if row.due_at < row.lease_until else until
        row.lease_until = until
        return msgspec.structs.replace(claim, lease_until=until)

    def load_snapshot(self, claim: Claim) -> Snapshot | None:
        if claim.load_balancer_id not in self.balancers:
            return None
        return Snapshot(tree=self._held(claim).tree, amphorae=self.list_amphorae(claim.load_balancer_id))

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
        row.due_at = self.now() if balancer.generation > generation or reported else self._after(recheck_s)
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
        return row.due_at <= self.now()

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
        row.due_at = self.now() if balancer.generation > generation else self._after(retry_s)
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
            self.rings()

    def lift_epoch(self, claim: Claim, seen: int) -> None:
        row = self._held(claim)
        row.epoch, row.lease_owner, row.lease_until, row.due_at = seen + 1, None, None, self.now()

    def mark_due(self, load_balancer_ids: Sequence[str]) -> None:
        now = self.now()
        marked = [self.balancers[one] for one in load_balancer_ids if one in self.balancers]
        marked = [row for row in marked if row.due_at > now]
        for row in marked:
            row.due_at = now
        if marked:
            self.rings()

    # Amphorae

    def save_amphora(self, claim: Claim, amphora: Amphora, *, heartbeat_key: Secret[bytes] | None = None) -> None:
        self._held(claim)
        old = self.amphorae.get(amphora.id)
        if old is not None:
            amphora = msgspec.structs.replace(
                amphora,
                load_balancer_id=old.load_balancer_id,
                created_at=old.created_at,
                last_heartbeat_at=old.last_heartbeat_at,
            )
        self.amphorae[amphora.id] = amphora

    def list_spares(self) -> tuple[Spare, ...]:
        return ()

    def remove_amphora(self, claim: Claim, amphora_id: str) -> None:
        self._held(claim)
        self.amphorae.pop(amphora_id, None)
        self.silences.pop(amphora_id, None)

    def list_amphorae(self, load_balancer_id: str | None = None) -> tuple[Amphora, ...]:
        rows = [row for row in self.amphorae.values() if load_balancer_id in (None, row.load_balancer_id)]
        return tuple(sorted(rows, key=lambda row: (row.created_at, row.id)))

    def count_placed(self) -> dict[str, int]:
        placed: dict[str, int] = {}
        for row in self.amphorae.values():
            placed[row.host] = placed.get(row.host, 0) + 1
        return placed

    def load_heartbeat_key(self, amphora_id: str) -> Secret[bytes] | None:
        return Secret(amphora_id.encode()) if amphora_id in self.amphorae else None

    def touch_amphorae(self, seen: Mapping[str, dt.datetime]) -> None:
        for amphora_id, at in seen.items():
            row = self.amphorae.get(amphora_id)
            if row is not None and (row.last_heartbeat_at is None or row.last_heartbeat_at < at):
                self.amphorae[amphora_id] = msgspec.structs.replace(row, last_heartbeat_at=at)

    # What automatic replacements are decided by

    def save_silences(self, silences: Sequence[Silence], over: Collection[str]) -> None:
        for one in over:
            self.silences.pop(one, None)
        for silence in silences:
            if silence.amphora_id in self.amphorae:
                self.silences[silence.amphora_id] = (silence.since, self.now())

    def _is_silent(self, amphora: Amphora) -> bool:
        if amphora.id not in self.silences:
            return False
        since, told_at = self.silences[amphora.id]
        heard_at = amphora.last_heartbeat_at
        is_fresh = told_at > self._after(-SILENCE_COUNTS_S)
        return is_fresh and (heard_at is None or heard_at <= since + dt.timedelta(seconds=1))

    def load_lookout(self, load_balancer_id: str, limits: Limits) -> Lookout:
        mine = [row for row in self.list_amphorae(load_balancer_id) if self._is_silent(row)]
        voices: dict[str, Voices] = {}
        for row in self._list_fleet():
            old = voices.get(row.host, Voices(serving=0, silent=0))
            voices[row.host] = Voices(serving=old.serving + 1, silent=old.silent + self._is_silent(row))
        return Lookout(
            silent_since={row.id: self.silences[row.id][0] for row in mine}, hosts=voices, budget=self._budget(limits)
        )

    def _list_fleet(self) -> list[Amphora]:
        return [row for row in self.amphorae.values() if row.status in SPEAKING]

    def _budget(self, limits: Limits) -> Budget:
        in_minute = sum(1 for at in self.replacements.values() if at > self._after(-MINUTE_S))
        in_window = sum(1 for at in self.replacements.values() if at > self._after(-WINDOW_S))
        return Budget(limits=limits, fleet=len(self._list_fleet()), in_minute=in_minute, in_window=in_window)

    def save_given_up(self, claim: Claim, amphora: Amphora, limits: Limits) -> None:
        self._held(claim)
        spent = self._budget(limits).tell_spent()
        if spent:
            raise Transient("replacement-budget-spent", f"Amphora {amphora.id} is not replaced yet: {spent}")
        self.replacements.setdefault(amphora.id, self.now())
        self.save_amphora(claim, amphora)
        self.gives_up(amphora)

    # Chores

    def add_chores(self, names: Sequence[str]) -> None:
        for name in names:
            self.chores.setdefault(name, ChoreRow(due_at=self.now()))

    def claim_chore(self, names: Sequence[str], *, owner: str, lease_s: float) -> ChoreClaim | None:
        now = self.now()
        rows = [(self.chores[name].due_at, name) for name in names if name in self.chores]
        free = [name for due, name in sorted(rows) if due <= now and _is_free(self.chores[name].lease_until, now)]
        if not free:
            return None
        row = self.chores[free[0]]
        row.lease_owner, row.lease_until = owner, self._after(lease_s)
        return ChoreClaim(name=free[0], owner=owner, memory=dict(row.memory))

    def renew_chore(self, claim: ChoreClaim, *, lease_s: float) -> bool:
        row = self.chores[claim.name]
        if row.lease_owner != claim.owner:
            return False
        row.lease_until = self._after(lease_s)
        return True

    def save_chore(
        self,
        claim: ChoreClaim,
        *,
        next_s: float,
        memory: Mapping[str, dt.datetime],
        reason: Reason | None = None,
    ) -> bool:
        row = self.chores[claim.name]
        if row.lease_owner != claim.owner:
            return False
        row.due_at, row.lease_owner, row.lease_until = self._after(next_s), None, None
        row.memory, row.reason = dict(memory), reason
        return True

    def list_known_ids(self) -> set[str]:
        return set(self.balancers) | set(self.amphorae)

    # Whose it is; it is never set back, and no host leaves for good

    def load_deployment(self) -> Deployment:
        return Deployment(id="11111111-1111-4111-8111-111111111111", mark=self.mark, held_since=self.held_since)

    def advance_mark(self) -> Deployment:
        self.mark += 1
        return self.load_deployment()

    def hold_collection(self, seen: int) -> bool:
        if seen <= self.mark:
            return False
        self.mark, self.held_since = seen, self.held_since or self.now()
        return True

    def release_collection(self) -> None:
        self.held_since = None

    def is_host_gone(self, host: str) -> bool:
        return False

    def list_drains(self) -> tuple[Drain, ...]:
        return ()

    def list_stays(self) -> tuple[Stay, ...]:
        return ()


def _is_free(lease_until: dt.datetime | None, now: dt.datetime) -> bool:
    return lease_until is None or lease_until <= now


def list_rows(tree: Tree) -> Iterator[Resource]:
    """Yield everything below the load balancer."""
    for name in ROWS_OF.values():
        yield from getattr(tree, name)


def _replace_rows(tree: Tree, balancer: LoadBalancer, change: Callable[[Resource], Resource | None]) -> Tree:
    rows: dict[str, Any] = {
        name: tuple(new for row in getattr(tree, name) if (new := change(row)) is not None) for name in ROWS_OF.values()
    }
    return Tree(load_balancer=balancer, **rows)
