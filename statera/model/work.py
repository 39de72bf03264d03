"""A claimed piece of work: who may write for a load balancer, and what it looked like when the pass began."""

import datetime as dt

import msgspec

from statera.base.errand import Errand
from statera.base.reason import Reason
from statera.model.amphora import Amphora
from statera.model.tree import Tree


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to act for one load balancer until `lease_until`. Every write is conditional on `epoch`."""

    load_balancer_id: str
    owner: str
    epoch: int
    lease_until: dt.datetime
    failures: int
    """Failed tries in a row before this one."""
    failing_since: dt.datetime | None
    errand: Errand = Errand()
    """What for: without a request when nothing has been asked for since the last pass that settled."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Desired state at one generation, and the amphora rows, from one REPEATABLE READ transaction."""

    tree: Tree
    amphorae: tuple[Amphora, ...]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a load balancer's history: an edit, a plan, an action, a failure or a status change."""

    load_balancer_id: str
    generation: int
    what: str
    reason: Reason | None = None
    at: dt.datetime
    actor: str = ""
    request_id: str = ""
    """The request that asked for it, or for what this came of; "" for none."""


class ChoreState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a periodic chore."""

    name: str
    due_at: dt.datetime
    done_at: dt.datetime | None = None
    """When it was tried last, well or not."""
    owner: str = ""
    """Who does it now, "" for nobody."""
    reason: Reason | None = None
    """Why it failed the last time."""


class ChoreClaim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to do one periodic chore now, and what the last one left in mind."""

    name: str
    owner: str
    memory: dict[str, dt.datetime] = {}
    """Ids, and since when something has been so."""
