"""How many objects of each kind a project may have. The store counts in the transaction that writes."""

import msgspec

from statera.model.tree import LoadBalancer, Resource, Tree

UNLIMITED = -1


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The most objects of each kind, `UNLIMITED` for no limit, in the v2 API's names."""

    loadbalancer: int = UNLIMITED
    listener: int = UNLIMITED
    pool: int = UNLIMITED
    member: int = UNLIMITED
    healthmonitor: int = UNLIMITED
    l7policy: int = UNLIMITED
    l7rule: int = UNLIMITED


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """A project's own limits; None: the default holds."""

    project_id: str
    loadbalancer: int | None = None
    listener: int | None = None
    pool: int | None = None
    member: int | None = None
    healthmonitor: int | None = None
    l7policy: int | None = None
    l7rule: int | None = None

    def effective(self, defaults: Limits) -> Limits:
        """Return what holds for the project."""
        own = {name: getattr(self, name) for name in Limits.__struct_fields__}
        return msgspec.structs.replace(defaults, **{name: most for name, most in own.items() if most is not None})


def limit_name(kind: type[Resource]) -> str:
    """Return the attribute of `Limits` that bounds a kind: `HealthMonitor` is `healthmonitor`."""
    return kind.__name__.lower()


def count_growth(before: Tree | None, after: Tree) -> dict[type[Resource], int]:
    """Return by how many objects of each kind an edit adds to the project; None: there was no tree before.

    What the same edit gives up makes room for what it adds (a member set that is replaced grows by the difference).
    """
    growth: dict[type[Resource], int] = {} if before is not None else {LoadBalancer: 1}
    for attribute in Tree.__struct_fields__:
        rows = getattr(after, attribute)
        old = () if before is None else getattr(before, attribute)
        if rows is old or not isinstance(rows, tuple):
            continue
        wanted = {row.id: not row.deleting for row in old}
        fresh = sum(row.id not in wanted for row in rows)
        given_up = sum(row.deleting and wanted.get(row.id, False) for row in rows)
        if fresh > given_up:
            growth[type(rows[0])] = fresh - given_up
    return growth
