"""What is said of certificates that are about to end, or have."""

import datetime as dt

import msgspec
import pytest

from statera.base.reason import Reason
from statera.model.enums import ClientAuthentication, ListenerProtocol, OperatingStatus
from statera.model.expiry import find_ends
from statera.model.observed import merge_heartbeats
from statera.model.status import derive_statuses
from statera.model.tree import Tree
from tests.unit.model.test_status import (
    LB,
    LISTENER,
    NOW,
    POOL,
    UP,
    apply,
    change,
    everything,
    make_heartbeat,
    make_tree,
)

DAY = dt.timedelta(days=1)
OWN, OTHER, UNUSED = "http://secrets/own", "http://secrets/other", "http://secrets/unused"


def with_ends(tree: Tree, **ends: dt.timedelta) -> Tree:
    """Return the tree with a listener of two certificates and a pool of one, which end so long after now."""
    names = {"own": OWN, "other": OTHER, "unused": UNUSED}
    tree = change(
        tree,
        LISTENER,
        protocol=ListenerProtocol.TERMINATED_HTTPS,
        default_tls_container_ref=OWN,
        sni_container_refs=(OTHER,),
    )
    tree = change(tree, POOL, tls_enabled=True, tls_container_ref=OTHER)
    return change(tree, LB, certificate_ends={names[name]: NOW + after for name, after in ends.items()})


def shown(tree: Tree, warn_days: float = 30.0) -> dict[str, tuple[OperatingStatus, Reason | None]]:
    observed = merge_heartbeats([make_heartbeat(*UP)])
    after = everything(apply(tree, derive_statuses(tree, observed, NOW, warn_days)))
    return {one: (after[one].operating_status, after[one].reason) for one in (LB, LISTENER, POOL)}


def test_nothing_is_said_of_those_that_last() -> None:
    tree = with_ends(make_tree(), own=31 * DAY, other=400 * DAY, unused=-DAY)
    assert shown(tree) == dict.fromkeys((LB, LISTENER, POOL), (OperatingStatus.ONLINE, None))


def test_the_first_end_is_told_thirty_days_ahead_and_nothing_turns_bad() -> None:
    found = shown(with_ends(make_tree(), own=12 * DAY, other=30 * DAY))
    assert {status for status, _ in found.values()} == {OperatingStatus.ONLINE}
    at = (NOW + 12 * DAY).strftime("%Y-%m-%d %H:%M UTC")
    sentence = f"The certificate of {OWN} expires in 12 days, at {at}."
    assert found[LISTENER][1] == Reason(slug="certificate-expires", sentence=sentence, since=NOW - 18 * DAY)
    own, pools = found[LB][1], found[POOL][1]
    assert own is not None
    assert pools is not None
    assert own.slug == "certificate-expires"
    assert own.since == NOW - 18 * DAY
    assert sentence in own.sentence
    assert pools.sentence in own.sentence
    assert "in 30 days" in pools.sentence


@pytest.mark.parametrize(
    ("after", "words"),
    [(DAY, "in 1 day,"), (DAY * 0.9, "within a day,"), (DAY * 2, "in 2 days,")],
)
def test_the_last_days(after: dt.timedelta, words: str) -> None:
    reason = shown(with_ends(make_tree(), own=after))[LISTENER][1]
    assert reason is not None
    assert words in reason.sentence


def test_an_expired_one_degrades_what_uses_it() -> None:
    found = shown(with_ends(make_tree(), own=dt.timedelta(0), other=400 * DAY))
    assert {one: (status, reason and reason.slug) for one, (status, reason) in found.items()} == {
        LB: (OperatingStatus.DEGRADED, "load-balancer-degraded"),
        LISTENER: (OperatingStatus.DEGRADED, "certificate-expired"),
        POOL: (OperatingStatus.ONLINE, None),
    }


def test_a_list_of_revocations_is_told_of_in_the_same_way() -> None:
    tree = change(
        with_ends(make_tree(), own=400 * DAY, other=3 * DAY),
        LISTENER,
        client_authentication=ClientAuthentication.OPTIONAL,
        sni_container_refs=(),
        client_crl_container_ref=OTHER,
    )
    reason = shown(tree)[LISTENER][1]
    assert reason is not None
    assert reason.slug == "certificate-expires"
    assert reason.sentence.startswith(f"The list of revocations of {OTHER} expires in 3 days, at ")
    status, reason = shown(change(tree, LB, certificate_ends={OTHER: NOW - DAY}))[LISTENER]
    assert status is OperatingStatus.DEGRADED
    assert reason is not None
    assert reason.slug == "certificate-expired"
    assert "no certificate is accepted until there is another one" in reason.sentence
    # Whom nobody asks for a certificate may go on.
    tree = change(tree, LISTENER, client_authentication=ClientAuthentication.NONE)
    assert shown(change(tree, LB, certificate_ends={OTHER: NOW - DAY}))[LISTENER] == (OperatingStatus.ONLINE, None)


def test_the_days_are_an_option() -> None:
    tree = with_ends(make_tree(), own=12 * DAY)
    assert shown(tree, 11.0)[LISTENER][1] is None
    assert shown(tree, 13.0)[LISTENER][1] is not None


def test_a_renewed_one_clears_the_reason() -> None:
    tree, observed = with_ends(make_tree(), own=-DAY), merge_heartbeats([make_heartbeat(*UP)])
    tree = apply(tree, derive_statuses(tree, observed, NOW))
    tree = change(tree, LB, certificate_ends={OWN: NOW + 90 * DAY})
    assert shown(tree) == dict.fromkeys((LB, LISTENER, POOL), (OperatingStatus.ONLINE, None))
    assert derive_statuses(apply(tree, derive_statuses(tree, observed, NOW)), observed, NOW) == ()


def test_ends_are_compared_by_the_second() -> None:
    ends = find_ends({OWN: NOW.replace(microsecond=5), OTHER: None})
    assert msgspec.json.decode(msgspec.json.encode(ends), type=dict[str, dt.datetime]) == {
        OWN: NOW.replace(microsecond=0)
    }
