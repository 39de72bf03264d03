"""What an edit would change, said before it is made: the objects, and what each amphora does about it."""

import enum
from typing import Any

import msgspec

from statera.base.reason import Reason
from statera.model.agent_wire import Verdict
from statera.model.become import BOOKKEEPING, settle_tree
from statera.model.drafts import ROWS_OF
from statera.model.rules import WORDS
from statera.model.tree import HealthMonitor, LoadBalancer, Member, Resource, Tree


class Means(enum.StrEnum):
    """How a change comes live, from the least disturbance to the most."""

    NOTHING = "nothing"
    RUNTIME = "runtime"
    RELOAD = "reload"
    NEW_INTERFACES = "new-interfaces"
    NEW_AMPHORA = "new-amphora"


def worst(means: "list[Means]") -> Means:
    """Return the one that disturbs most."""
    return max(means, key=list(Means).index, default=Means.NOTHING)


class Action(enum.StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class AttributeChange(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    before: Any
    after: Any


class ObjectChange(msgspec.Struct, frozen=True, kw_only=True):
    """One object that an edit touches."""

    kind: str
    """Its name in the v2 API: `listener`."""
    id: str
    name: str
    action: Action
    attributes: tuple[AttributeChange, ...] = ()
    means: Means = Means.NOTHING
    why: str = ""
    """For a reload: what cannot change at run time; else what may make a reload of it."""


class AmphoraForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What an amphora would do."""

    id: str
    host: str
    means: Means
    why: str = ""
    difference: str = ""
    """Between the configuration files, as a unified difference; secrets are in neither."""
    verdict: Verdict | None = None
    """HAProxy's own; None: it could not be asked."""
    reason: Reason | None = None
    """Why the verdict is missing."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    means: Means
    objects: tuple[ObjectChange, ...]
    amphorae: tuple[AmphoraForecast, ...]
    steps: tuple[str, ...]
    """What a worker would do, in its own words."""


KIND_NAMES: dict[type[Resource], str] = {kind: kind.__name__.lower() for kind in WORDS}
"""Kinds in the words of the v2 API: `HealthMonitor` is `healthmonitor`."""


def list_changes(before: Tree, after: Tree) -> tuple[ObjectChange, ...]:
    """Return the objects that differ, parents first, and in what."""
    before, after = settle_tree(before), settle_tree(after)
    changes = list(_compare(LoadBalancer, before.load_balancer, after.load_balancer))
    for kind, attribute in ROWS_OF.items():
        old = {row.id: row for row in getattr(before, attribute)}
        new = {row.id: row for row in getattr(after, attribute)}
        for object_id in (*old, *(one for one in new if one not in old)):
            changes += _compare(kind, old.get(object_id), new.get(object_id))
    return tuple(changes)


_NEVER_ASKED = BOOKKEEPING | {"generation", "observed_generation", "amphorae_to_replace", "certificate_ends"}


def _compare(kind: type[Resource], old: Resource | None, new: Resource | None) -> list[ObjectChange]:
    row = new or old
    assert row is not None
    names = [name for name in kind.__struct_fields__ if name not in _NEVER_ASKED]
    differing = tuple(
        AttributeChange(name=name, before=getattr(old, name, None), after=getattr(new, name, None))
        for name in names
        if getattr(old, name, None) != getattr(new, name, None)
    )
    action = Action.CREATE if old is None else Action.DELETE if new is None else Action.UPDATE
    if action is Action.UPDATE and not differing:
        return []
    shown = differing if action is Action.UPDATE else ()
    return [ObjectChange(kind=KIND_NAMES[kind], id=row.id, name=row.name, action=action, attributes=shown)]


def isolate_change(before: Tree, after: Tree, change: ObjectChange) -> tuple[Tree, Tree]:
    """Return two trees that differ by one object only, in the company that it has after the edit.

    Members have no company of their own kind: what another one does is not this one's change.
    """
    before, after = settle_tree(before), settle_tree(after)
    kind = next(kind for kind, name in KIND_NAMES.items() if name == change.kind)
    if kind is LoadBalancer:
        return msgspec.structs.replace(after, load_balancer=before.load_balancer), after
    attribute = ROWS_OF[kind]
    old = [row for row in getattr(before, attribute) if row.id == change.id]
    rows: tuple[Any, ...] = getattr(after, attribute)
    if kind is Member:
        rows = tuple(row for row in rows if row.id == change.id)
    elif kind is not HealthMonitor:
        # The words of many members take long, and are the same on both sides.
        after = msgspec.structs.replace(after, members=())
    if change.action is Action.UPDATE:
        with_old = tuple(old[0] if row.id == change.id else row for row in rows)
    else:
        with_old = (*(row for row in rows if row.id != change.id), *old)
    return (
        msgspec.structs.replace(after, **{attribute: with_old}),
        msgspec.structs.replace(after, **{attribute: rows}),
    )
