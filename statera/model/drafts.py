"""How every edit of a tree is made: find the rows, open a draft under the terms, change rows in it, finish it.

Internals of `edits.py` and `l7edits.py`, where the edits themselves stand.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import msgspec

from statera.base.errors import Refusal, Refused
from statera.model.enums import ProvisioningStatus
from statera.model.rules import WORDS, check_datagram_families
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, Listener, Member, Pool, Resource, Tree

R = TypeVar("R", bound=Resource)
Decide = Callable[[Tree], Tree]
Change = Callable[[R], R]
"""From the stored row to the wanted one; raises `Refused` when the two do not go together."""

ROWS_OF: dict[type[Resource], str] = {
    Listener: "listeners",
    Pool: "pools",
    Member: "members",
    HealthMonitor: "health_monitors",
    L7Policy: "l7policies",
    L7Rule: "l7rules",
}


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Under which terms an edit is accepted. `strict`: not while an earlier one is being applied."""

    now: dt.datetime
    strict: bool = False


def find_row(tree: Tree, kind: type[R], object_id: str) -> R:
    rows = cast(Sequence[R], getattr(tree, ROWS_OF[kind]))
    found = next((row for row in rows if row.id == object_id), None)
    if found is None:
        raise Refused(Refusal.NOT_FOUND, f"{WORDS[kind]} {object_id} not found.")
    return found


def refuse_immutable(row: Resource, word: str = "") -> None:
    raise Refused(Refusal.CONFLICT, f"{word or WORDS[type(row)]} {row.id} is immutable and cannot be updated.")


def require_wanted(row: Resource) -> None:
    if row.deleting:
        refuse_immutable(row)


def open_draft(tree: Tree, terms: Terms) -> "Draft":
    """Begin an edit below the load balancer. Refuses (CONFLICT) when it takes none."""
    balancer = tree.load_balancer
    if balancer.deleting or is_busy(tree, balancer, terms):
        refuse_immutable(balancer)
    return Draft(tree, terms.now)


def is_busy(tree: Tree, row: Resource, terms: Terms) -> bool:
    """Say whether a row still waits for an earlier edit, where the terms are strict."""
    # A load balancer that is only being planned (generation 0) has no earlier edit to wait for.
    is_planned = tree.load_balancer.generation == 0
    return terms.strict and not is_planned and row.provisioning_status != ProvisioningStatus.ACTIVE


def join_edits(decisions: Sequence[Decide]) -> Decide:
    """Make one edit of several: all or nothing, one generation. Only the first may have strict terms."""

    def decide(tree: Tree) -> Tree:
        after = tree
        for one in decisions:
            after = one(after)
        generation = min(after.load_balancer.generation, tree.load_balancer.generation + 1)
        balancer = _stamp_no_later(after.load_balancer, generation)
        rows: dict[str, Any] = {
            name: tuple(_stamp_no_later(row, generation) for row in getattr(after, name)) for name in ROWS_OF.values()
        }
        return Tree(load_balancer=msgspec.structs.replace(balancer, generation=generation), **rows)

    return decide


def _stamp_no_later(row: R, generation: int) -> R:
    if row.changed_at_generation <= generation:
        return row
    return msgspec.structs.replace(row, changed_at_generation=generation)


class Draft:
    """One edit in the making. Every row it touches is stamped with the new generation and loses its reason."""

    def __init__(self, tree: Tree, now: dt.datetime) -> None:
        self.tree = tree
        self.load_balancer = tree.load_balancer
        self._generation = tree.load_balancer.generation + 1
        self._now = now
        self._rows: dict[type[Resource], dict[str, Resource]] = {}

    def _rows_of(self, kind: type[Resource]) -> dict[str, Resource]:
        if kind not in self._rows:
            self._rows[kind] = {row.id: row for row in getattr(self.tree, ROWS_OF[kind])}
        return self._rows[kind]

    def add(self, row: Resource) -> None:
        status = ProvisioningStatus.PENDING_CREATE
        self._rows_of(type(row))[row.id] = msgspec.structs.replace(
            row, provisioning_status=status, changed_at_generation=self._generation, deleting=False
        )

    def change(self, row: Resource) -> None:
        """Put the wanted form of a row that exists."""
        self._rows_of(type(row))[row.id] = self._pending(row)

    def put(self, row: Resource) -> None:
        """Put another form of a row without touching its status: nobody asked for this change."""
        self._rows_of(type(row))[row.id] = row

    def list_rows(self, kind: type[R]) -> tuple[R, ...]:
        """Return all rows of a kind as the edit has them so far."""
        return cast(tuple[R, ...], tuple(self._rows_of(kind).values()))

    def delete(self, row: Resource) -> None:
        self._rows_of(type(row))[row.id] = self._pending(msgspec.structs.replace(row, deleting=True))

    def touch_users(self, pool_id: str) -> None:
        for listener in self.tree.list_listeners_using(pool_id):
            if not listener.deleting:
                self.change(listener)

    def _pending(self, row: R) -> R:
        status = ProvisioningStatus.PENDING_UPDATE
        if row.deleting:
            status = ProvisioningStatus.PENDING_DELETE
        elif row.provisioning_status == ProvisioningStatus.PENDING_CREATE:
            # What was never applied is still to be created, however often it was edited.
            status = ProvisioningStatus.PENDING_CREATE
        changes = {"provisioning_status": status, "changed_at_generation": self._generation, "reason": None}
        return msgspec.structs.replace(row, updated_at=self._now, **changes)

    def finish(self) -> Tree:
        balancer = msgspec.structs.replace(self._pending(self.load_balancer), generation=self._generation)
        rows: dict[str, Any] = {ROWS_OF[kind]: tuple(found.values()) for kind, found in self._rows.items()}
        tree = msgspec.structs.replace(self.tree, load_balancer=balancer, **rows)
        check_datagram_families(tree)
        return tree
