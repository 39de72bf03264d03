"""One tree becomes another in one edit: rows are matched, changed where they differ, added and given up.

What is matched keeps its id, so that the engine changes only what differs. The wanted tree is consistent in itself: it
was grown by the same decisions as every other, or it was live before.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from statera.base.errors import Refusal, Refused
from statera.model.drafts import ROWS_OF, Decide, Draft, Terms, open_draft
from statera.model.enums import L4_TRANSPORT, OperatingStatus
from statera.model.rules import WORDS
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, Listener, Member, Pool, Resource, Tree

R = TypeVar("R", bound=Resource)

BOOKKEEPING = frozenset(Resource.__struct_fields__) - {"name", "admin_state_up", "tags"} | {"load_balancer_id"}
"""What nobody wishes for."""
OWN = ("name", "description", "admin_state_up", "tags")
"""What may change of a load balancer itself."""
FIXED: dict[type[Resource], tuple[str, ...]] = {
    Listener: ("protocol", "protocol_port"),
    Pool: ("protocol",),
    Member: ("pool_id",),
    HealthMonitor: ("pool_id", "type"),
    L7Policy: ("listener_id",),
    L7Rule: ("l7policy_id",),
}
"""What cannot change as long as an object is the same."""
REFERENCES = ("default_pool_id", "pool_id", "listener_id", "redirect_pool_id", "l7policy_id")
PARENTS: dict[type[Resource], tuple[str, type[Resource]]] = {
    Member: ("pool_id", Pool),
    HealthMonitor: ("pool_id", Pool),
    L7Policy: ("listener_id", Listener),
    L7Rule: ("l7policy_id", L7Policy),
}
PASSING = ("provisioning_status", "operating_status", "reason", "changed_at_generation", "updated_at")
AT_REST = {one.name: one.default for one in msgspec.structs.fields(Resource) if one.name in PASSING}
"""What only passes by, as it is of an object that nobody edits or looks at."""
_Key = Callable[[Any], Hashable | None]


def become(wanted: Tree, terms: Terms, *, by_id_only: bool = False) -> Decide:
    """Make the tree what `wanted` says. Rows of the same id are the same, else those of the same natural key.

    `by_id_only`: natural keys do not count. Refuses (CONFLICT) while the load balancer takes no edits, (INVALID) to
    change what is fixed.
    """

    def decide(tree: Tree) -> Tree:
        draft = open_draft(tree, terms)
        return _Becoming(tree, match_tree(tree, wanted, by_id_only=by_id_only), draft).run()

    return decide


# Matching


def match_tree(tree: Tree, wanted: Tree, *, by_id_only: bool = False) -> Tree:
    """Return the wanted tree with the ids of what is there already. Raises `Refused` (INVALID)."""
    for kind, keys in _list_keys():
        ids = _match(kind, tree, wanted, () if by_id_only else keys)
        wanted = _rename(wanted, ids)
    return wanted


def _list_keys() -> Iterable[tuple[type[Resource], tuple[Callable[[Tree], _Key], ...]]]:
    # Parents first: what stands below them is told apart by them.
    return (
        (Listener, (lambda _: lambda row: (L4_TRANSPORT[row.protocol], row.protocol_port, row.protocol),)),
        (Pool, (lambda _: lambda row: (row.name, row.protocol) if row.name else None, _key_by_user, _key_by_all)),
        (Member, (lambda _: lambda row: (row.pool_id, row.address, row.protocol_port),)),
        (HealthMonitor, (lambda _: lambda row: (row.pool_id, row.type),)),
        (L7Policy, (lambda _: lambda row: (row.listener_id, row.name) if row.name else None, _key_by_place)),
        (L7Rule, (lambda _: lambda row: (row.l7policy_id, *_list_wishes(row).items()),)),
    )


def _key_by_user(tree: Tree) -> _Key:
    """Tell a pool without a name by the listener whose default it is."""
    users = {listener.default_pool_id: listener.id for listener in reversed(tree.listeners)}
    return lambda pool: (users[pool.id], pool.protocol) if not pool.name and pool.id in users else None


def _key_by_all(_tree: Tree) -> _Key:
    return lambda row: (*_list_wishes(row).items(),) if not row.name else None


def _key_by_place(tree: Tree) -> _Key:
    """Tell a policy without a name by its place among its listener's."""
    return lambda policy: (policy.listener_id, policy.position) if not policy.name else None


def _match(kind: type[R], tree: Tree, wanted: Tree, keys: Iterable[Callable[[Tree], _Key]]) -> dict[str, str]:
    """Return the present id of each wanted row that is there already, by the wanted one."""
    there: dict[str, R] = {row.id: row for row in getattr(tree, ROWS_OF[kind])}
    rows: tuple[R, ...] = getattr(wanted, ROWS_OF[kind])
    for row in rows:
        if row.id in there:
            _check_fixed(there[row.id], row)
    ids = {row.id: row.id for row in rows if row.id in there}
    for make_key in keys:
        free: dict[Hashable, list[str]] = {}
        taken = set(ids.values())
        key_there, key_wanted = make_key(tree), make_key(wanted)
        for one in there.values():
            if one.id not in taken and not one.deleting:
                free.setdefault(key_there(one), []).append(one.id)
        for row in rows:
            key = key_wanted(row) if row.id not in ids else None
            if key is not None and free.get(key):
                ids[row.id] = free[key].pop(0)
    return ids


def _check_fixed(there: Resource, wanted: Resource) -> None:
    for name in FIXED[type(wanted)]:
        if getattr(there, name) != getattr(wanted, name):
            word = WORDS[type(there)]
            raise Refused(Refusal.INVALID, f"Validation failure: {name} of {word} {there.id} cannot be changed.")


def _rename(tree: Tree, ids: Mapping[str, str]) -> Tree:
    def renamed(row: R) -> R:
        names = ("id", *(name for name in REFERENCES if name in row.__struct_fields__))
        changes = {name: ids[getattr(row, name)] for name in names if getattr(row, name) in ids}
        return msgspec.structs.replace(row, **changes) if changes else row

    rows: dict[str, Any] = {name: tuple(map(renamed, getattr(tree, name))) for name in ROWS_OF.values()}
    return msgspec.structs.replace(tree, **rows)


def _list_wishes(row: Resource) -> dict[str, Any]:
    """Return what was wished for of a row, in words that are hashable."""
    return {name: getattr(row, name) for name in row.__struct_fields__ if name not in BOOKKEEPING}


# The edit


class _Becoming:
    def __init__(self, tree: Tree, wanted: Tree, draft: Draft) -> None:
        self._tree = tree
        self._wanted = wanted
        self._draft = draft
        self._touched: dict[str, type[Resource]] = {}
        self._done: set[str] = set()

    def run(self) -> Tree:
        own = {name: getattr(self._wanted.load_balancer, name) for name in OWN}
        self._draft.load_balancer = msgspec.structs.replace(self._tree.load_balancer, **own)
        for kind in ROWS_OF:
            self._put_rows(kind)
            self._give_up_rows(kind)
        if not self._done and self._draft.load_balancer == self._tree.load_balancer:
            return self._tree
        self._touch_users()
        for kind, attribute in ROWS_OF.items():
            for row in getattr(self._tree, attribute):
                if row.id in self._touched and row.id not in self._done and not row.deleting:
                    self._draft.change(next(one for one in self._draft.list_rows(kind) if one.id == row.id))
        return self._draft.finish()

    def _put_rows(self, kind: type[Resource]) -> None:
        there = {row.id: row for row in getattr(self._tree, ROWS_OF[kind])}
        for row in getattr(self._wanted, ROWS_OF[kind]):
            old = there.get(row.id)
            if old is None:
                self._draft.add(self._with_first_status(row))
            else:
                changed = msgspec.structs.replace(old, **_list_wishes(row), deleting=False)
                if changed == old:
                    continue
                self._draft.change(changed)
            self._note(row)

    def _give_up_rows(self, kind: type[Resource]) -> None:
        kept = {row.id for row in getattr(self._wanted, ROWS_OF[kind])}
        for row in getattr(self._tree, ROWS_OF[kind]):
            if row.id not in kept and not row.deleting and not self._goes_with_parent(row):
                self._draft.delete(row)
                self._note(row)

    def _goes_with_parent(self, row: Resource) -> bool:
        if type(row) not in PARENTS:
            return False
        attribute, kind = PARENTS[type(row)]
        return all(parent.id != getattr(row, attribute) for parent in getattr(self._wanted, ROWS_OF[kind]))

    def _note(self, row: Resource) -> None:
        """Remember what was done, and that what stands above it becomes pending with it."""
        self._done.add(row.id)
        while type(row) in PARENTS:
            attribute, kind = PARENTS[type(row)]
            parent_id = getattr(row, attribute)
            self._touched[parent_id] = kind
            rows = [*getattr(self._wanted, ROWS_OF[kind]), *getattr(self._tree, ROWS_OF[kind])]
            row = next(one for one in rows if one.id == parent_id)

    def _touch_users(self) -> None:
        pools = self._done | set(self._touched)
        for pool in self._wanted.pools:
            if pool.id in pools:
                for tree in (self._tree, self._wanted):
                    self._touched |= {one.id: Listener for one in tree.list_listeners_using(pool.id)}

    def _with_first_status(self, row: Resource) -> Resource:
        if not isinstance(row, Member):
            return row
        is_checked = self._wanted.find_health_monitor(row.pool_id) is not None
        first = OperatingStatus.OFFLINE if is_checked else OperatingStatus.NO_MONITOR
        return msgspec.structs.replace(row, operating_status=first)


def settle_tree(tree: Tree) -> Tree:
    """Return the tree as it is once it is live: without what was given up, and without what only passes by."""
    gone = {row.id for name in ROWS_OF.values() for row in getattr(tree, name) if row.deleting}
    rows: dict[str, Any] = {}
    for kind, name in ROWS_OF.items():
        attribute = PARENTS[kind][0] if kind in PARENTS else "id"
        kept = [row for row in getattr(tree, name) if not {row.id, getattr(row, attribute)} & gone]
        gone |= {row.id for row in getattr(tree, name)} - {row.id for row in kept}
        rows[name] = tuple(_at_rest(row) for row in kept)
    balancer = _at_rest(tree.load_balancer)
    return Tree(load_balancer=msgspec.structs.replace(balancer, amphorae_to_replace=(), certificate_ends={}), **rows)


def _at_rest(row: R) -> R:
    return msgspec.structs.replace(row, **AT_REST)
