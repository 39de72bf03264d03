"""What the amphorae of one load balancer say together: their last heartbeats merged, and who keeps silent."""

import datetime as dt
from collections.abc import Iterable, Sequence

import msgspec

from statera.model.heartbeat import Heartbeat, ListenerObserved, ListenerState, MemberObserved, MemberState

MISHELD_AFTER_S = 15.0
"""A move takes less than a second, heartbeats come every few; who has died with the VIPs is silent by then."""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """An amphora whose heartbeats stay away."""

    amphora_id: str
    load_balancer_id: str
    host: str
    since: dt.datetime
    """When it was last heard; when the listening began if it never was."""


class Misheld(msgspec.Struct, frozen=True, kw_only=True):
    """Who has the VIPs that amphorae share, while it is not just one of them."""

    amphora_ids: tuple[str, ...]
    """Several, or none."""
    since: dt.datetime

    def lasts(self, now: dt.datetime) -> bool:
        """Say whether this is more than a move that one of them has told of and another has not yet."""
        return (now - self.since).total_seconds() >= MISHELD_AFTER_S


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The load balancer as seen from outside the database. Facts, not wishes."""

    heard: int = 0
    """How many amphorae speak; with 0 only `silent` tells something."""
    generation: int = 0
    """Of the live configurations the oldest; 0 when some amphora has none yet."""
    stopped: tuple[str, ...] = ()
    """Amphorae in which an engine that they need does not run."""
    served: frozenset[str] = frozenset()
    """Listeners that those serve all the same, by another engine."""
    listeners: dict[str, ListenerObserved] = {}
    """By listener."""
    members: dict[str, MemberObserved] = {}
    """By member."""
    silent: tuple[Silence, ...] = ()
    misheld: Misheld | None = None


_LISTENER_RANK = {ListenerState.FULL: 2, ListenerState.OPEN: 1, ListenerState.STOP: 0}
_MEMBER_RANK = {
    MemberState.UP: 4,
    MemberState.NO_CHECK: 3,
    MemberState.DRAIN: 2,
    MemberState.DOWN: 1,
    MemberState.MAINT: 0,
}


def find_misheld(heartbeats: Sequence[Heartbeat], silent: Sequence[Silence], since: dt.datetime) -> Misheld | None:
    """Return who has the VIPs that amphorae share, None while it is one of them or cannot be told.

    Nobody needs them before something is served, and who keeps silent may have them.
    """
    sharing = [heartbeat for heartbeat in heartbeats if heartbeat.has_vips is not None]
    holders = tuple(sorted(heartbeat.amphora_id for heartbeat in sharing if heartbeat.has_vips))
    is_served = any(heartbeat.listeners for heartbeat in sharing)
    may_be_elsewhere = bool(silent) or len(sharing) < len(heartbeats)
    if len(holders) > 1 or (is_served and not holders and not may_be_elsewhere):
        return Misheld(amphora_ids=holders, since=since)
    return None


def merge_heartbeats(
    heartbeats: Iterable[Heartbeat], silent: Sequence[Silence] = (), misheld: Misheld | None = None
) -> Observed:
    """Merge the last whole heartbeats of one load balancer's amphorae, one of each.

    A member that one amphora reaches works; a listener that is full in one is full.
    """
    spoken = sorted(heartbeats, key=lambda heartbeat: heartbeat.amphora_id)
    listeners: dict[str, ListenerObserved] = {}
    members: dict[str, MemberObserved] = {}
    for heartbeat in spoken:
        for listener in heartbeat.listeners:
            known = listeners.get(listener.id)
            if known is None or _LISTENER_RANK[listener.status] > _LISTENER_RANK[known.status]:
                listeners[listener.id] = listener
        for member in heartbeat.members:
            seen = members.get(member.member_id)
            if seen is None or _MEMBER_RANK[member.state] > _MEMBER_RANK[seen.state]:
                members[member.member_id] = member
    return Observed(
        heard=len(spoken),
        generation=min((heartbeat.generation for heartbeat in spoken), default=0),
        stopped=tuple(heartbeat.amphora_id for heartbeat in spoken if not heartbeat.haproxy_running),
        served=frozenset(
            listener.id
            for heartbeat in spoken
            for listener in heartbeat.listeners
            if not heartbeat.haproxy_running and listener.status is not ListenerState.STOP
        ),
        listeners=listeners,
        members=members,
        silent=tuple(silent),
        misheld=misheld,
    )
