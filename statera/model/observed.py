"""What the amphorae of one load balancer say together: their last heartbeats merged, and who keeps silent."""

import datetime as dt
from collections.abc import Iterable, Sequence

import msgspec

from statera.model.heartbeat import Heartbeat, ListenerObserved, ListenerState, MemberObserved, MemberState


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """An amphora whose heartbeats stay away."""

    amphora_id: str
    load_balancer_id: str
    host: str
    since: dt.datetime
    """When it was last heard; when the listening began if it never was."""


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


_LISTENER_RANK = {ListenerState.FULL: 2, ListenerState.OPEN: 1, ListenerState.STOP: 0}
_MEMBER_RANK = {
    MemberState.UP: 4,
    MemberState.NO_CHECK: 3,
    MemberState.DRAIN: 2,
    MemberState.DOWN: 1,
    MemberState.MAINT: 0,
}


def merge_heartbeats(heartbeats: Iterable[Heartbeat], silent: Sequence[Silence] = ()) -> Observed:
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
    )
