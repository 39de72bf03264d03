"""What a decision is made from: what is wanted, what is there, and what is not known."""

import datetime as dt

import msgspec

from statera.base.reason import Reason
from statera.model.amphora import Amphora, AmphoraObserved, Host
from statera.model.failover import Lookout
from statera.model.network import Network
from statera.model.spec import LimitsSpec
from statera.model.tree import Tree


class Unseen(msgspec.Struct, frozen=True):
    """The host did not answer, so nobody knows what is there."""

    reason: Reason


Sighting = AmphoraObserved | Unseen | None
"""What a host says of one amphora; None: the host answers and has nothing under this id."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `decide_plan` looks at."""

    tree: Tree
    amphorae: tuple[Amphora, ...]
    """The rows, oldest first."""
    sightings: dict[str, Sighting] = {}
    """By amphora; each row of `amphorae` has one."""
    hosts: tuple[Host, ...] = ()
    """Only looked at, and only needed, when `plan.needs_hosts` says so."""
    placed: dict[str, int] = {}
    """Amphora rows per host, of all load balancers: a host counts an amphora only once it has been built."""
    spares: dict[str, str] = {}
    """A ready spare amphora of each host that has one, by host; each is taken at most once in a plan."""
    networks: tuple[Network, ...] = ()
    limits: LimitsSpec
    configurations: dict[str, str] = {}
    """Digest of the wanted document by amphora, "" when no listener needs an engine. One that is missing is unknown."""
    fresh_ids: tuple[str, ...] = ()
    """Ids for amphorae that are to be added, at least `plan.MOST_FRESH_IDS`."""
    silent_after_s: float = 18.0
    """Seconds without a heartbeat that speak for the end of an amphora whose host does not answer either."""
    lookout: Lookout | None = None
    """Only looked at, and only needed, when `brain.needs_lookout` says so."""
    failing_s: float = 0.0
    """For how long passes over this load balancer have failed."""
    broken_after_s: float = 10.0
    """Seconds of broken service on a host that answers, and of failed passes, after which it is given up there."""
    now: dt.datetime
