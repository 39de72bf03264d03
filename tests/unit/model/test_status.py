"""The operating status table of rules.md section 7, row by row, with plain data."""

import datetime as dt
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from statera.base.reason import Reason
from statera.model import status as status_rules
from statera.model.enums import Algorithm, ListenerProtocol, MonitorType, OperatingStatus, PoolProtocol
from statera.model.enums import ProvisioningStatus as Provisioning
from statera.model.heartbeat import Heartbeat, ListenerObserved, ListenerState, MemberObserved, MemberState
from statera.model.observed import MISHELD_AFTER_S, Misheld, Observed, Silence, merge_heartbeats
from statera.model.status import OBSERVED_SLUGS, StatusChange, derive_statuses
from statera.model.tree import HealthMonitor, Listener, LoadBalancer, Member, Pool, Resource, Tree, Vip

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(seconds=30)
LB, LISTENER, POOL, M1, M2, M3, MONITOR, AMPHORA = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(8))
ONLINE, OFFLINE, ERROR = OperatingStatus.ONLINE, OperatingStatus.OFFLINE, OperatingStatus.ERROR
DEGRADED, DRAINING, NO_MONITOR = OperatingStatus.DEGRADED, OperatingStatus.DRAINING, OperatingStatus.NO_MONITOR


def make_tree(*, members: int = 2, monitor: bool = True) -> Tree:
    plain: dict[str, Any] = {
        "project_id": "p",
        "provisioning_status": Provisioning.ACTIVE,
        "changed_at_generation": 1,
        "created_at": NOW,
    }
    vip = Vip(address="10.0.0.1", subnet_id=None, network_id="n", port_id="o")
    child = plain | {"load_balancer_id": LB}
    return Tree(
        load_balancer=LoadBalancer(id=LB, vip=vip, observed_generation=1, **plain),
        listeners=(
            Listener(id=LISTENER, protocol=ListenerProtocol.HTTP, protocol_port=80, default_pool_id=POOL, **child),
        ),
        pools=(Pool(id=POOL, name="web", protocol=PoolProtocol.HTTP, lb_algorithm=Algorithm.ROUND_ROBIN, **child),),
        members=tuple(
            Member(id=member_id, pool_id=POOL, address=f"10.0.1.{number}", protocol_port=8080, **child)
            for number, member_id in enumerate((M1, M2, M3)[:members], start=1)
        ),
        health_monitors=(
            (
                HealthMonitor(
                    id=MONITOR, pool_id=POOL, type=MonitorType.HTTP, delay=5, timeout=3, max_retries=3, **child
                ),
            )
            if monitor
            else ()
        ),
    )


def seen(member_id: str, state: MemberState = MemberState.UP, **details: Any) -> MemberObserved:
    return MemberObserved(POOL, member_id, state, **details)


def refused(member_id: str) -> MemberObserved:
    return seen(member_id, MemberState.DOWN, check="L4CON", text="Connection refused", since_s=12.0)


def make_heartbeat(
    *members: MemberObserved, listener: ListenerState | None = ListenerState.OPEN, **changes: Any
) -> Heartbeat:
    plain = Heartbeat(
        amphora_id=AMPHORA,
        load_balancer_id=LB,
        boot=1,
        sequence=1,
        sent_at=NOW.timestamp(),
        generation=1,
        epoch=1,
        haproxy_running=True,
        listeners=(ListenerObserved(LISTENER, listener),) if listener else (),
        members=members,
    )
    return msgspec.structs.replace(plain, **changes)


def change(tree: Tree, object_id: str, **changes: Any) -> Tree:
    """Return the tree with one object's attributes replaced."""

    def one(resource: Any) -> Any:
        return msgspec.structs.replace(resource, **changes) if resource.id == object_id else resource

    return Tree(
        load_balancer=one(tree.load_balancer),
        listeners=tuple(map(one, tree.listeners)),
        pools=tuple(map(one, tree.pools)),
        members=tuple(map(one, tree.members)),
        health_monitors=tuple(map(one, tree.health_monitors)),
    )


def apply(tree: Tree, changes: tuple[StatusChange, ...]) -> Tree:
    for news in changes:
        tree = change(tree, news.id, operating_status=news.operating_status, reason=news.reason)
    return tree


def everything(tree: Tree) -> dict[str, Resource]:
    resources: tuple[Resource, ...] = (
        tree.load_balancer, *tree.listeners, *tree.pools, *tree.members, *tree.health_monitors,
    )  # fmt: skip
    return {resource.id: resource for resource in resources}


def shown(tree: Tree, *heartbeats: Heartbeat, silent: tuple[Silence, ...] = ()) -> dict[str, Resource]:
    """Return what everything shows after these heartbeats."""
    return everything(apply(tree, derive_statuses(tree, merge_heartbeats(heartbeats, silent), NOW)))


def status(tree: Tree, object_id: str, *heartbeats: Heartbeat) -> tuple[OperatingStatus, str, str]:
    resource = shown(tree, *heartbeats)[object_id]
    reason = resource.reason or Reason(slug="", sentence="")
    return resource.operating_status, reason.slug, reason.sentence


UP = (seen(M1), seen(M2))


def test_all_is_well() -> None:
    after = shown(make_tree(), make_heartbeat(*UP))
    assert {resource.operating_status for resource in after.values()} == {ONLINE}
    assert {resource.reason for resource in after.values()} == {None}


def test_what_is_known_is_no_news() -> None:
    observed = merge_heartbeats([make_heartbeat(seen(M1), refused(M2))])
    tree = make_tree()
    after = apply(tree, derive_statuses(tree, observed, NOW))
    older = merge_heartbeats(
        [make_heartbeat(seen(M1, since_s=40.0), msgspec.structs.replace(refused(M2), since_s=42.0))]
    )
    assert derive_statuses(after, older, LATER) == ()


def test_statuses_are_a_fixed_point() -> None:
    tree = make_tree(members=3)
    observed = merge_heartbeats([make_heartbeat(seen(M1), refused(M2), listener=ListenerState.FULL)])
    after = apply(tree, derive_statuses(tree, observed, NOW))
    assert derive_statuses(after, observed, LATER) == ()


# --- load balancer


def test_a_load_balancer_switched_off_is_offline() -> None:
    tree = change(make_tree(), LB, admin_state_up=False)
    off = make_heartbeat(listener=None, haproxy_running=False)
    assert status(tree, LB, off)[:2] == (OFFLINE, "admin-down")
    assert status(tree, LISTENER, off)[:2] == (OFFLINE, "admin-down")
    assert status(tree, POOL, off)[:2] == (OFFLINE, "admin-down")
    assert status(tree, M1, off)[0] is OFFLINE


def test_a_load_balancer_fails_when_a_pool_has_no_working_member() -> None:
    assert status(make_tree(), LB, make_heartbeat(refused(M1), refused(M2))) == (
        ERROR,
        "load-balancer-failing",
        "Pool web: No member takes traffic: 10.0.1.1:8080, 10.0.1.2:8080 failing.",
    )


def test_a_load_balancer_is_degraded_when_a_member_fails() -> None:
    assert status(make_tree(), LB, make_heartbeat(seen(M1), refused(M2))) == (
        DEGRADED,
        "load-balancer-degraded",
        "Pool web: 1 of 2 members fail their health check: 10.0.1.2:8080.",
    )


def test_a_load_balancer_is_degraded_when_a_listener_is_full() -> None:
    assert status(make_tree(), LB, make_heartbeat(*UP, listener=ListenerState.FULL))[0] is DEGRADED


def test_a_load_balancer_fails_when_haproxy_does_not_run() -> None:
    dead = make_heartbeat(listener=None, haproxy_running=False)
    assert status(make_tree(), LB, dead)[:2] == (ERROR, "haproxy-not-running")
    assert status(make_tree(), LISTENER, dead)[:2] == (ERROR, "haproxy-not-running")


def test_it_is_said_which_engine_does_not_run() -> None:
    udp = msgspec.structs.replace(make_tree().listeners[0], id="udp", protocol=ListenerProtocol.UDP)
    tree = msgspec.structs.replace(make_tree(), listeners=(*make_tree().listeners, udp))
    web, datagrams = ListenerObserved(LISTENER, ListenerState.OPEN), ListenerObserved("udp", ListenerState.OPEN)
    stopped = ListenerObserved("udp", ListenerState.STOP)
    no_nginx = make_heartbeat(*UP, haproxy_running=False, listeners=(web, stopped))
    assert status(tree, LB, no_nginx) == (ERROR, "nginx-not-running", f"nginx does not run in amphora {AMPHORA}.")
    words = "nginx does not run in the listener's amphora."
    assert status(tree, "udp", no_nginx) == (ERROR, "nginx-not-running", words)
    assert status(tree, LISTENER, no_nginx)[0] is ONLINE
    no_haproxy = make_heartbeat(*UP, haproxy_running=False, listeners=(datagrams,))
    assert status(tree, LB, no_haproxy)[1:] == ("haproxy-not-running", f"HAProxy does not run in amphora {AMPHORA}.")
    assert status(tree, "udp", no_haproxy)[0] is ONLINE
    sctp = msgspec.structs.replace(tree, listeners=(msgspec.structs.replace(udp, protocol=ListenerProtocol.SCTP),))
    words = "keepalived, which fills IPVS, does not run in the listener's amphora."
    assert status(sctp, "udp", no_nginx) == (ERROR, "keepalived-not-running", words)
    assert status(sctp, LB, no_nginx)[2] == f"keepalived does not run in amphora {AMPHORA}."
    neither = make_heartbeat(*UP, haproxy_running=False, listeners=(stopped,))
    assert status(tree, LB, neither)[2] == f"HAProxy and nginx do not run in amphora {AMPHORA}."
    beside = make_heartbeat(*UP, amphora_id="other", listeners=(web, datagrams))
    assert status(tree, LB, no_nginx, beside)[1:] == (
        "load-balancer-degraded",
        f"nginx does not run in amphora {AMPHORA}.",
    )


def test_a_load_balancer_without_listeners_needs_no_haproxy() -> None:
    tree = msgspec.structs.replace(make_tree(), listeners=())
    assert status(tree, LB, make_heartbeat(listener=None, haproxy_running=False))[0] is ONLINE


def test_nothing_is_said_before_the_first_configuration() -> None:
    tree = make_tree()
    assert derive_statuses(tree, merge_heartbeats([make_heartbeat(generation=0)]), NOW) == ()


def test_nothing_is_said_when_nobody_was_heard() -> None:
    assert derive_statuses(make_tree(), Observed(), NOW) == ()


def test_silence_is_an_error_of_the_load_balancer_alone() -> None:
    silence = Silence(amphora_id=AMPHORA, load_balancer_id=LB, host="h1", since=NOW)
    before = apply(make_tree(), derive_statuses(make_tree(), merge_heartbeats([make_heartbeat(*UP)]), NOW))
    (news,) = derive_statuses(before, merge_heartbeats([], [silence]), LATER)
    assert (news.kind, news.id, news.operating_status) == (LoadBalancer, LB, ERROR)
    assert news.reason == Reason(
        slug="amphora-silent",
        sentence=f"Nothing was heard of amphora {AMPHORA} on host h1 since 2026-11-21 12:00:00 UTC.",
        since=NOW,
    )


def test_one_silent_amphora_of_two_degrades() -> None:
    silence = Silence(amphora_id="other", load_balancer_id=LB, host="h2", since=NOW)
    after = shown(make_tree(), make_heartbeat(*UP), silent=(silence,))
    assert after[LB].operating_status is DEGRADED
    assert after[POOL].operating_status is ONLINE


# --- listener


@pytest.mark.parametrize(("limit", "words"), [(100, "its connection limit of 100"), (-1, "the limit of its amphora")])
def test_a_full_listener_is_degraded(limit: int, words: str) -> None:
    tree = change(make_tree(), LISTENER, connection_limit=limit)
    found = status(tree, LISTENER, make_heartbeat(*UP, listener=ListenerState.FULL))
    assert found == (DEGRADED, "listener-full", f"The listener has reached {words}; further connections wait.")


def test_a_listener_not_reported_is_an_error_once_all_is_applied() -> None:
    assert status(make_tree(), LISTENER, make_heartbeat(listener=None))[:2] == (ERROR, "listener-not-reported")


def test_a_listener_not_reported_is_offline_while_edits_are_applied() -> None:
    tree = change(make_tree(), LB, provisioning_status=Provisioning.PENDING_UPDATE)
    assert status(tree, LISTENER, make_heartbeat(listener=None))[:2] == (OFFLINE, "listener-not-reported")


def test_a_listener_switched_off_is_offline() -> None:
    tree = change(make_tree(), LISTENER, admin_state_up=False)
    assert status(tree, LISTENER, make_heartbeat(listener=None))[:2] == (OFFLINE, "admin-down")


def test_a_stopped_listener_is_an_error() -> None:
    found = status(make_tree(), LISTENER, make_heartbeat(*UP, listener=ListenerState.STOP))
    assert found[:2] == (ERROR, "listener-stopped")


# --- pool


def test_a_pool_is_degraded_with_some_members_failing() -> None:
    assert status(make_tree(), POOL, make_heartbeat(seen(M1), refused(M2)))[:2] == (DEGRADED, "pool-members-failing")


def test_a_pool_fails_when_no_member_works() -> None:
    assert status(make_tree(), POOL, make_heartbeat(refused(M1), refused(M2)))[:2] == (ERROR, "pool-no-member-works")


def test_a_pool_of_drained_and_failing_members_takes_no_traffic() -> None:
    tree = change(make_tree(), M1, weight=0)
    assert status(tree, POOL, make_heartbeat(seen(M1, MemberState.DRAIN), refused(M2))) == (
        ERROR,
        "pool-no-member-works",
        "No member takes traffic: 10.0.1.2:8080 failing; 1 disabled or draining.",
    )


def test_a_pool_that_no_listener_uses_is_offline() -> None:
    tree = change(make_tree(), LISTENER, default_pool_id=None)
    assert status(tree, POOL, make_heartbeat())[:2] == (OFFLINE, "pool-not-used")
    assert status(tree, M1, make_heartbeat()) == (
        OFFLINE,
        "member-not-reported",
        "The member is not checked: no enabled listener uses its pool.",
    )


def test_a_pool_switched_off_is_offline() -> None:
    tree = change(make_tree(), POOL, admin_state_up=False)
    assert status(tree, POOL, make_heartbeat())[:2] == (OFFLINE, "admin-down")
    assert status(tree, M1, make_heartbeat())[:2] == (OFFLINE, "member-not-reported")


def test_a_pool_without_members_is_online() -> None:
    assert status(make_tree(members=0), POOL, make_heartbeat())[0] is ONLINE


# --- member


def test_a_failing_member_says_what_was_seen() -> None:
    failing = seen(M1, MemberState.DOWN, check="L7STS", code=503, text="Service Unavailable", since_s=12.0)
    after = shown(make_tree(), make_heartbeat(failing, seen(M2)))[M1]
    assert after.operating_status is ERROR
    assert after.reason == Reason(
        slug="member-check-failed",
        sentence="The HTTP check of 10.0.1.1:8080 fails: the answer was not the expected one (layer 7) "
        "[L7STS, code 503: Service Unavailable].",
        since=NOW - dt.timedelta(seconds=12),
    )


def test_a_check_elsewhere_is_named() -> None:
    tree = change(make_tree(), M1, monitor_address="fd00::9", monitor_port=9000)
    failing = seen(M1, MemberState.DOWN, check="L4TOUT")
    assert status(tree, M1, make_heartbeat(failing)) == (
        ERROR,
        "member-check-failed",
        "The HTTP check of [fd00::9]:9000 fails: no connection within the timeout (layer 4) [L4TOUT].",
    )


def test_a_connection_that_was_reset_is_no_missing_socket() -> None:
    # HAProxy says SOCKERR of both, for one when a member that speaks TLS is asked in plain HTTP.
    failing = seen(M1, MemberState.DOWN, check="SOCKERR", text="Connection reset by peer")
    assert status(make_tree(), M1, make_heartbeat(failing))[2] == (
        "The HTTP check of 10.0.1.1:8080 fails: the connection could not be opened, or it broke "
        "[SOCKERR: Connection reset by peer]."
    )


def test_a_member_with_weight_0_drains() -> None:
    tree = change(make_tree(), M1, weight=0)
    assert status(tree, M1, make_heartbeat(seen(M1, MemberState.DRAIN), seen(M2)))[:2] == (DRAINING, "member-draining")
    assert status(tree, M1, make_heartbeat(*UP))[0] is DRAINING


def test_a_member_that_is_drained_and_down_is_an_error() -> None:
    tree = change(make_tree(), M1, weight=0)
    assert status(tree, M1, make_heartbeat(refused(M1), seen(M2)))[0] is ERROR


def test_a_member_switched_off_is_offline() -> None:
    tree = change(make_tree(), M1, admin_state_up=False)
    assert status(tree, M1, make_heartbeat(seen(M1, MemberState.MAINT), seen(M2)))[:2] == (OFFLINE, "admin-down")
    assert status(tree, POOL, make_heartbeat(seen(M1, MemberState.MAINT), seen(M2)))[0] is ONLINE


def test_a_member_not_reported_is_offline() -> None:
    assert status(make_tree(), M2, make_heartbeat(seen(M1)))[:2] == (OFFLINE, "member-not-reported")


def test_a_member_not_checked_has_no_monitor() -> None:
    tree = make_tree(monitor=False)
    assert (
        status(tree, M1, make_heartbeat(seen(M1, MemberState.NO_CHECK), seen(M2, MemberState.NO_CHECK)))[0]
        is NO_MONITOR
    )
    assert status(tree, POOL, make_heartbeat(seen(M1, MemberState.NO_CHECK)))[0] is ONLINE


def test_a_monitor_that_goes_takes_the_statuses_with_it() -> None:
    tree = change(make_tree(), MONITOR, deleting=True, provisioning_status=Provisioning.PENDING_DELETE)
    assert status(tree, M1, make_heartbeat(refused(M1), seen(M2)))[:2] == (NO_MONITOR, "")


def test_a_monitor_switched_off_checks_nothing() -> None:
    tree = change(make_tree(), MONITOR, admin_state_up=False)
    assert status(tree, MONITOR, make_heartbeat(*UP))[:2] == (OFFLINE, "admin-down")
    assert status(tree, M1, make_heartbeat(*UP))[0] is NO_MONITOR


# --- health monitor


def test_a_monitor_is_online_once_it_is_live() -> None:
    assert status(make_tree(), MONITOR, make_heartbeat(*UP))[0] is ONLINE


def test_a_monitor_that_is_not_live_yet_stays() -> None:
    tree = change(make_tree(), MONITOR, changed_at_generation=2)
    assert status(tree, MONITOR, make_heartbeat(*UP))[0] is OFFLINE


# --- edits on their way


def test_what_is_not_live_yet_keeps_what_it_shows() -> None:
    tree = change(make_tree(members=3), M3, changed_at_generation=2, provisioning_status=Provisioning.PENDING_CREATE)
    after = shown(tree, make_heartbeat(*UP))
    assert after[M3].operating_status is OFFLINE
    assert after[M3].reason is None
    assert after[POOL].operating_status is ONLINE


def test_a_monitor_not_live_yet_leaves_members_as_they_are() -> None:
    tree = change(make_tree(), MONITOR, changed_at_generation=2)
    tree = change(tree, M1, operating_status=NO_MONITOR)
    assert (
        status(tree, M1, make_heartbeat(seen(M1, MemberState.NO_CHECK), seen(M2, MemberState.NO_CHECK)))[0]
        is NO_MONITOR
    )


def test_what_is_being_deleted_is_left_alone_and_counts_no_more() -> None:
    tree = change(make_tree(), M2, deleting=True, provisioning_status=Provisioning.PENDING_DELETE)
    after = shown(tree, make_heartbeat(seen(M1), refused(M2)))
    assert after[M2].operating_status is OFFLINE
    assert after[POOL].operating_status is ONLINE
    assert after[LB].operating_status is ONLINE


def test_a_reason_of_the_reconciler_stays_until_it_settles() -> None:
    failure = Reason(slug="agent-unreachable", sentence="The agent does not answer.")
    tree = apply(make_tree(), derive_statuses(make_tree(), merge_heartbeats([make_heartbeat(*UP)]), NOW))
    tree = change(tree, LB, provisioning_status=Provisioning.PENDING_UPDATE, reason=failure)
    assert derive_statuses(tree, merge_heartbeats([make_heartbeat(*UP)]), LATER) == ()


# --- several amphorae


def test_a_member_that_one_amphora_reaches_works() -> None:
    one, other = make_heartbeat(*UP), make_heartbeat(refused(M1), refused(M2), amphora_id="other")
    assert status(make_tree(), M1, one, other)[0] is ONLINE
    assert status(make_tree(), M1, other, one)[0] is ONLINE


def test_a_listener_full_in_one_amphora_is_full() -> None:
    one, other = make_heartbeat(*UP), make_heartbeat(*UP, amphora_id="other", listener=ListenerState.FULL)
    assert status(make_tree(), LISTENER, one, other)[0] is DEGRADED


def test_haproxy_stopped_in_one_amphora_of_two_degrades() -> None:
    stopped = make_heartbeat(amphora_id="other", listener=None, haproxy_running=False)
    assert status(make_tree(), LB, make_heartbeat(*UP), stopped)[0] is DEGRADED


def test_every_reason_given_is_known() -> None:
    text = Path(status_rules.__file__).read_text(encoding="utf-8")
    given = set(re.findall(r'slug(?:, sentence)? ?=\s*"([a-z0-9-]+)"', text))
    assert given
    assert given <= OBSERVED_SLUGS


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ((), (OperatingStatus.ERROR, "vips-on-none")),
        ((AMPHORA, "another"), (OperatingStatus.DEGRADED, "vips-on-several")),
    ],
)
def test_shared_vips_that_are_not_on_just_one_for_long_are_told(
    ids: tuple[str, ...], told: tuple[OperatingStatus, str]
) -> None:
    tree = make_tree()
    for age_s, wanted in ((MISHELD_AFTER_S - 1, ""), (MISHELD_AFTER_S, told[1])):
        misheld = Misheld(amphora_ids=ids, since=NOW - dt.timedelta(seconds=age_s))
        observed = merge_heartbeats([make_heartbeat(*UP)], (), misheld)
        balancer = apply(tree, derive_statuses(tree, observed, NOW)).load_balancer
        assert (balancer.reason.slug if balancer.reason else "") == wanted
    assert balancer.operating_status == told[0]
    assert balancer.reason is not None
    assert balancer.reason.since == misheld.since
    assert all(amphora_id in balancer.reason.sentence for amphora_id in ids)
    once_more = apply(tree, derive_statuses(tree, observed, NOW))
    assert derive_statuses(once_more, observed, NOW + dt.timedelta(seconds=60)) == ()
