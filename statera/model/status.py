"""The operating statuses: what tenants are told of how their load balancer fares in traffic (rules.md section 7).

Entry: `derive_statuses`. From what is wanted, what the amphorae said last and what was shown before, to what changes.
Statuses flow upwards: listeners and members are seen, pools follow from members, the load balancer from all of them.
An object that the live configuration does not hold yet, or that is being deleted, keeps what it shows.
"""

import datetime as dt
from collections.abc import Mapping

import msgspec

from statera.base.reason import Reason
from statera.model.engines import DATAGRAM_PROTOCOLS, EngineName
from statera.model.enums import ListenerProtocol, OperatingStatus, ProvisioningStatus
from statera.model.expiry import EXPIRED, EXPIRES, judge_certificates
from statera.model.heartbeat import ListenerObserved, ListenerState, MemberState
from statera.model.observed import Observed
from statera.model.sentences import name_members, name_some, tell_check, tell_dead, tell_misheld, tell_silence
from statera.model.tree import Listener, Member, Pool, Resource, Tree

OBSERVED_SLUGS = frozenset(
    {
        "admin-down",
        "amphora-silent",
        EXPIRED,
        EXPIRES,
        "haproxy-not-running",
        "keepalived-not-running",
        "listener-full",
        "listener-not-reported",
        "listener-stopped",
        "load-balancer-degraded",
        "load-balancer-failing",
        "member-check-failed",
        "member-draining",
        "member-in-maintenance",
        "member-not-reported",
        "nginx-not-running",
        "pool-members-failing",
        "pool-no-member-works",
        "pool-not-reported",
        "pool-not-used",
        "vips-on-none",
        "vips-on-several",
    }
)
"""The reasons given here. Any other on an object is the reconciler's, which covers ours until it settles."""

WARN_DAYS = 30.0

_DOWN = {
    EngineName.HAPROXY: Reason(slug="haproxy-not-running", sentence="HAProxy does not run in the listener's amphora."),
    EngineName.NGINX: Reason(slug="nginx-not-running", sentence="nginx does not run in the listener's amphora."),
    EngineName.LVS: Reason(
        slug="keepalived-not-running", sentence="keepalived, which fills IPVS, does not run in the listener's amphora."
    ),
}
"""Why a listener does not listen whose engine is down."""


class StatusChange(msgspec.Struct, frozen=True, kw_only=True):
    """What an object is to show from now on."""

    kind: type[Resource]
    id: str
    operating_status: OperatingStatus
    reason: Reason | None


class _Verdict(msgspec.Struct, frozen=True):
    status: OperatingStatus
    reason: Reason | None = None


MOST_AGE_S = 10 * 365 * 86_400.0
"""No process runs for longer; what tells of more would reach back before the calendar."""
_ONLINE = _Verdict(OperatingStatus.ONLINE)
_WORKING = (OperatingStatus.ONLINE, OperatingStatus.NO_MONITOR)


def derive_statuses(
    tree: Tree, observed: Observed, now: dt.datetime, warn_days: float = WARN_DAYS
) -> tuple[StatusChange, ...]:
    """Return what changes in what the tree shows; nothing when nothing is news.

    Certificates that end within `warn_days` days are told of.
    """
    if not observed.heard:
        return _only_news([(tree.load_balancer, _judge_unheard(tree, observed))], now)
    if not observed.generation:
        return ()
    members = {member.id: _judge_member(tree, member, observed, now) for member in tree.members}
    listeners = {listener.id: _judge_listener(tree, listener, observed) for listener in tree.listeners}
    pools = {pool.id: _judge_pool(tree, pool, observed, members) for pool in tree.pools}
    listeners = {one.id: _mind_certificates(tree, one, listeners[one.id], now, warn_days) for one in tree.listeners}
    pools = {one.id: _mind_certificates(tree, one, pools[one.id], now, warn_days) for one in tree.pools}
    judged: list[tuple[Resource, _Verdict]] = [
        (tree.load_balancer, _judge_load_balancer(tree, observed, listeners, pools, now)),
        *((listener, listeners[listener.id]) for listener in tree.listeners),
        *((pool, pools[pool.id]) for pool in tree.pools),
        *((member, members[member.id]) for member in tree.members),
        *((monitor, _judge_unseen(monitor, "health monitor", observed)) for monitor in tree.health_monitors),
        *((policy, _judge_unseen(policy, "L7 policy", observed)) for policy in tree.l7policies),
        *((rule, _judge_unseen(rule, "L7 rule", observed)) for rule in tree.l7rules),
    ]
    return _only_news(judged, now)


def _mind_certificates(
    tree: Tree, owner: Listener | Pool, verdict: _Verdict, now: dt.datetime, warn_days: float
) -> _Verdict:
    """Add what is to be said of its certificates to what works."""
    if verdict != _ONLINE or owner.deleting:
        return verdict
    reason = judge_certificates(tree, owner, now, warn_days)
    expired = reason is not None and reason.slug == EXPIRED
    return _Verdict(OperatingStatus.DEGRADED if expired else OperatingStatus.ONLINE, reason)


def _judge_unheard(tree: Tree, observed: Observed) -> _Verdict:
    if not tree.load_balancer.admin_state_up:
        return _admin_down("The load balancer is administratively down.")
    if not observed.silent:
        return _as_shown(tree.load_balancer)
    reason = Reason(slug="amphora-silent", sentence=tell_silence(observed), since=observed.silent[0].since)
    return _Verdict(OperatingStatus.ERROR, reason)


def _judge_member(tree: Tree, member: Member, observed: Observed, now: dt.datetime) -> _Verdict:
    if member.deleting:
        return _as_shown(member)
    if not member.admin_state_up:
        return _admin_down("The member is administratively down.")
    seen = observed.members.get(member.id)
    monitor = tree.find_health_monitor(member.pool_id)
    if monitor is None or not monitor.admin_state_up:
        if seen is not None and (member.weight == 0 or seen.state is MemberState.DRAIN):
            return _DRAINING
        return _Verdict(OperatingStatus.NO_MONITOR)
    if seen is None:
        return _judge_unreported_member(tree, member, observed)
    if seen.state is MemberState.NO_CHECK:
        # The check is wanted but not live yet, or HAProxy was told to have none.
        return _as_shown(member) if not _is_live(monitor, observed) else _Verdict(OperatingStatus.NO_MONITOR)
    if seen.state is MemberState.DOWN:
        since = now - dt.timedelta(seconds=min(seen.since_s, MOST_AGE_S))
        sentence = tell_check(member, monitor, seen)
        return _Verdict(OperatingStatus.ERROR, Reason(slug="member-check-failed", sentence=sentence, since=since))
    if member.weight == 0 or seen.state is MemberState.DRAIN:
        return _DRAINING
    if seen.state is MemberState.MAINT:
        if not _is_live(member, observed):
            return _as_shown(member)
        sentence = "HAProxy has the member in maintenance although it is wanted."
        return _Verdict(OperatingStatus.OFFLINE, Reason(slug="member-in-maintenance", sentence=sentence))
    return _ONLINE


_DRAINING = _Verdict(
    OperatingStatus.DRAINING,
    Reason(slug="member-draining", sentence="The member has weight 0: it gets no new connections."),
)


def _judge_unreported_member(tree: Tree, member: Member, observed: Observed) -> _Verdict:
    pool = tree.find_pool(member.pool_id)
    if pool is None or not _is_live(member, observed):
        return _as_shown(member)
    why = "the live configuration does not hold it"
    if not tree.load_balancer.admin_state_up:
        why = "its load balancer is administratively down"
    elif not pool.admin_state_up:
        why = "its pool is administratively down"
    elif not _users(tree, pool):
        why = "no enabled listener uses its pool"
    elif observed.stopped:
        why = "the engine that serves its pool does not run in the amphora"
    sentence = f"The member is not checked: {why}."
    return _Verdict(OperatingStatus.OFFLINE, Reason(slug="member-not-reported", sentence=sentence))


def _judge_listener(tree: Tree, listener: Listener, observed: Observed) -> _Verdict:
    if listener.deleting:
        return _as_shown(listener)
    if not listener.admin_state_up:
        return _admin_down("The listener is administratively down.")
    if not tree.load_balancer.admin_state_up:
        return _admin_down("The listener's load balancer is administratively down.")
    seen = observed.listeners.get(listener.id)
    if seen is not None and seen.status is ListenerState.OPEN:
        return _ONLINE
    if seen is not None and seen.status is ListenerState.FULL:
        limit = listener.connection_limit
        words = f"its connection limit of {limit}" if limit and limit > 0 else "the limit of its amphora"
        sentence = f"The listener has reached {words}; further connections wait."
        return _Verdict(OperatingStatus.DEGRADED, Reason(slug="listener-full", sentence=sentence))
    if not _is_live(listener, observed):
        return _as_shown(listener)
    settled = tree.load_balancer.provisioning_status is ProvisioningStatus.ACTIVE
    status = OperatingStatus.ERROR if settled else OperatingStatus.OFFLINE
    return _Verdict(status, _why_not_open(listener, seen, observed))


def _why_not_open(listener: Listener, seen: ListenerObserved | None, observed: Observed) -> Reason:
    engine = _engine_of(listener)
    if observed.stopped and (seen is None or engine is not EngineName.HAPROXY):
        return _DOWN[engine]
    if seen is None:
        sentence = "The listener is wanted, but the live configuration does not hold it."
        return Reason(slug="listener-not-reported", sentence=sentence)
    return Reason(slug="listener-stopped", sentence="HAProxy has stopped the listener although it is wanted.")


def _judge_pool(tree: Tree, pool: Pool, observed: Observed, members: Mapping[str, _Verdict]) -> _Verdict:
    if pool.deleting:
        return _as_shown(pool)
    if not pool.admin_state_up:
        return _admin_down("The pool is administratively down.")
    if not tree.load_balancer.admin_state_up:
        return _admin_down("The pool's load balancer is administratively down.")
    users = _users(tree, pool)
    if not users:
        sentence = "No enabled listener uses the pool."
        return _Verdict(OperatingStatus.OFFLINE, Reason(slug="pool-not-used", sentence=sentence))
    wanted = [member for member in tree.list_members(pool.id) if not member.deleting]
    live = [member for member in wanted if member.id in observed.members]
    if not live and not any(listener.id in observed.listeners for listener in users):
        if not _is_live(pool, observed) or not any(_is_live(listener, observed) for listener in users):
            return _as_shown(pool)
        sentence = "The pool is wanted, but no listener that uses it is live."
        return _Verdict(OperatingStatus.OFFLINE, Reason(slug="pool-not-reported", sentence=sentence))
    return _judge_used_pool(live, members)


def _judge_used_pool(live: list[Member], members: Mapping[str, _Verdict]) -> _Verdict:
    failing = [member for member in live if members[member.id].status is OperatingStatus.ERROR]
    if live and not any(members[member.id].status in _WORKING for member in live):
        resting = len(live) - len(failing)
        rest = f"; {resting} disabled or draining" if resting else ""
        sentence = f"No member takes traffic: {name_members(failing)} failing{rest}."
        return _Verdict(OperatingStatus.ERROR, Reason(slug="pool-no-member-works", sentence=sentence))
    if failing:
        sentence = f"{len(failing)} of {len(live)} members fail their health check: {name_members(failing)}."
        return _Verdict(OperatingStatus.DEGRADED, Reason(slug="pool-members-failing", sentence=sentence))
    return _ONLINE


def _judge_unseen(resource: Resource, word: str, observed: Observed) -> _Verdict:
    """Judge what is not seen in traffic."""
    if resource.deleting:
        return _as_shown(resource)
    if not resource.admin_state_up:
        return _admin_down(f"The {word} is administratively down.")
    return _ONLINE if _is_live(resource, observed) else _as_shown(resource)


def _judge_load_balancer(
    tree: Tree,
    observed: Observed,
    listeners: Mapping[str, _Verdict],
    pools: Mapping[str, _Verdict],
    now: dt.datetime,
) -> _Verdict:
    if not tree.load_balancer.admin_state_up:
        return _admin_down("The load balancer is administratively down.")
    dead = _list_dead(tree, observed)
    if dead and len(observed.stopped) == observed.heard:
        reason = msgspec.structs.replace(_DOWN[dead[0]], sentence=tell_dead(dead, observed))
        return _Verdict(OperatingStatus.ERROR, reason)
    misheld = observed.misheld if observed.misheld is not None and observed.misheld.lasts(now) else None
    if misheld is not None and not misheld.amphora_ids:
        reason = Reason(slug="vips-on-none", sentence=tell_misheld(misheld), since=misheld.since)
        return _Verdict(OperatingStatus.ERROR, reason)
    broken = [pool for pool in tree.pools if pools[pool.id].status is OperatingStatus.ERROR and not pool.deleting]
    if broken:
        sentence = name_some([_tell(pool, pools[pool.id]) for pool in broken])
        return _Verdict(OperatingStatus.ERROR, Reason(slug="load-balancer-failing", sentence=sentence))
    if misheld is not None:
        reason = Reason(slug="vips-on-several", sentence=tell_misheld(misheld), since=misheld.since)
        return _Verdict(OperatingStatus.DEGRADED, reason)
    troubles = _list_troubles(tree, observed, listeners, pools)
    if not troubles:
        return _tell_expiring(tree, listeners, pools)
    sentence = name_some(troubles)
    return _Verdict(OperatingStatus.DEGRADED, Reason(slug="load-balancer-degraded", sentence=sentence))


def _tell_expiring(tree: Tree, listeners: Mapping[str, _Verdict], pools: Mapping[str, _Verdict]) -> _Verdict:
    """Return that all works, with what is to be renewed."""
    judged = [(one, listeners[one.id]) for one in tree.listeners] + [(one, pools[one.id]) for one in tree.pools]
    told = [
        (verdict.reason.since, _tell(one, verdict))
        for one, verdict in judged
        if verdict.reason is not None and verdict.reason.slug == EXPIRES and not one.deleting
    ]
    if not told:
        return _ONLINE
    sentence = name_some([words for _, words in told])
    return _Verdict(OperatingStatus.ONLINE, Reason(slug=EXPIRES, sentence=sentence, since=min(told)[0]))


def _list_troubles(
    tree: Tree, observed: Observed, listeners: Mapping[str, _Verdict], pools: Mapping[str, _Verdict]
) -> list[str]:
    # A failing member is told by its pool.
    bad = (OperatingStatus.DEGRADED, OperatingStatus.ERROR)
    troubles = [tell_silence(observed)] if observed.silent else []
    dead = _list_dead(tree, observed)
    if dead and len(observed.stopped) < observed.heard:
        troubles.append(tell_dead(dead, observed))
    troubles += [
        _tell(listener, listeners[listener.id])
        for listener in tree.listeners
        if listeners[listener.id].status in bad and not listener.deleting
    ]
    return troubles + [
        _tell(pool, pools[pool.id])
        for pool in tree.pools
        if pools[pool.id].status is OperatingStatus.DEGRADED and not pool.deleting
    ]


def _list_dead(tree: Tree, observed: Observed) -> list[EngineName]:
    """Return the engines of what should be live and is not, where an engine is known not to run."""
    if not observed.stopped:
        return []
    wanted = [one for one in tree.listeners if one.admin_state_up and not one.deleting and _is_live(one, observed)]
    return sorted({_engine_of(one) for one in wanted if one.id not in observed.served})


def _engine_of(listener: Listener) -> EngineName:
    """Return what serves it, as far as the tree tells: UDP may be IPVS's, which serves on without its keepalived."""
    if listener.protocol == ListenerProtocol.SCTP:
        return EngineName.LVS
    return EngineName.NGINX if listener.protocol in DATAGRAM_PROTOCOLS else EngineName.HAPROXY


def _only_news(judged: list[tuple[Resource, _Verdict]], now: dt.datetime) -> tuple[StatusChange, ...]:
    changes = []
    for resource, verdict in judged:
        reason = _date_reason(resource.reason, verdict.reason, now)
        if not resource.deleting and _is_news(resource, verdict.status, reason):
            changes.append(
                StatusChange(kind=type(resource), id=resource.id, operating_status=verdict.status, reason=reason)
            )
    return tuple(changes)


def _is_news(resource: Resource, status: OperatingStatus, reason: Reason | None) -> bool:
    if status is not resource.operating_status:
        return True
    # While the reconciler's reason is shown, ours stands behind it and cannot be compared.
    covered = resource.reason is not None and resource.reason.slug not in OBSERVED_SLUGS
    return not covered and reason != resource.reason


def _date_reason(shown: Reason | None, new: Reason | None, now: dt.datetime) -> Reason | None:
    """Return the new reason with the time at which it was first seen: the same words keep theirs."""
    if new is None:
        return None
    if shown is not None and (shown.slug, shown.sentence) == (new.slug, new.sentence):
        return shown
    return new if new.since is not None else msgspec.structs.replace(new, since=now)


def _as_shown(resource: Resource) -> _Verdict:
    # A status that does not change is news only with another reason, and this one is the same.
    return _Verdict(resource.operating_status, resource.reason)


def _admin_down(sentence: str) -> _Verdict:
    return _Verdict(OperatingStatus.OFFLINE, Reason(slug="admin-down", sentence=sentence))


def _is_live(resource: Resource, observed: Observed) -> bool:
    """Say whether the live configuration was made with the last edit of the object in it."""
    return resource.changed_at_generation <= observed.generation


def _users(tree: Tree, pool: Pool) -> list[Listener]:
    return [user for user in tree.list_listeners_using(pool.id) if user.admin_state_up and not user.deleting]


def _tell(resource: Resource, verdict: _Verdict) -> str:
    why = verdict.reason.sentence if verdict.reason else f"{verdict.status.value}."
    return f"{type(resource).__name__} {resource.name or resource.id}: {why}"
