"""Who a database and its hosts belong to, and whether the database is older than what its hosts remember."""

import datetime as dt

import msgspec


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of one database, made with its schema; a copy or a backup of it has the same."""

    id: str
    mark: int
    """Raised by every sweep and left with the hosts: one that remembers a higher one has seen a newer database."""
    held_since: dt.datetime | None = None
    """Since when nothing is collected, because the database was set back; None: it is collected as usual."""


class DeploymentMark(msgspec.Struct, frozen=True, kw_only=True):
    """On the wire: what a host is to remember, and what it remembered before (0: nothing)."""

    deployment_id: str
    mark: int


MOST_AHEAD = 2**32
"""Sweeps: more than a database lives through."""


def is_credible(seen: int, mark: int) -> bool:
    """Say whether a host may remember this mark while the database is at `mark`.

    The database takes over the highest one, so a host that was taken over must not lead it to where no number is left.
    """
    return 0 <= seen <= mark + MOST_AHEAD
