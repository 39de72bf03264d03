"""Which HAProxy can do what tenants ask for, and the words for one that cannot."""

from typing import Any

import pytest

from statera.base.errors import Refusal, Refused
from statera.model.engines import DATAGRAM_PROTOCOLS
from statera.model.enums import PoolProtocol
from statera.model.features import (
    FEATURES,
    HASHES,
    METRICS,
    Installed,
    check_features,
    find_lack,
    list_lacking,
    list_needs,
    refuse_lacking,
    serves,
)
from statera.model.tree import Tree
from statera.render.engine import haproxy_capabilities
from tests.golden.cases import make_tree

OLD = Installed(host="one", version=(2, 4, 22), engines=("haproxy", "prometheus-exporter"))
NEW = Installed(host="two", version=(2, 6, 12), engines=("haproxy", "prometheus-exporter"))
BARE = Installed(host="three", version=(3, 0, 5), engines=("haproxy",))


def tree_with(listener: dict[str, Any] | None = None, **pool: Any) -> Tree:
    plain = {"id": "listener", "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "name": "web"}
    pools = [{"id": "pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"} | pool]
    return make_tree({"listeners": [plain | (listener or {})], "pools": pools})


MONITOR = {"delay": 5, "timeout": 3, "max_retries": 2}


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (tree_with({"protocol": "PROMETHEUS"}), "a listener of protocol PROMETHEUS"),
        (tree_with({"hsts_max_age": 60}), "HSTS"),
        (tree_with(lb_algorithm="SOURCE_IP_PORT"), "the algorithm SOURCE_IP_PORT"),
        (tree_with(health_monitor=MONITOR | {"type": "PING"}), "a health monitor of type PING"),
        (tree_with(health_monitor=MONITOR | {"type": "HTTPS"}), "a health monitor of type HTTP or HTTPS"),
    ],
)
def test_what_is_asked_for_is_seen(tree: Tree, words: str) -> None:
    assert [feature.words for feature, _ in list_needs(tree)] == [words]
    assert list(list_needs(tree_with())) == []


def test_all_works_with_the_oldest_supported_version() -> None:
    assert all(NEW.has(feature) for feature in FEATURES)
    haproxy_capabilities("2.6.0").check(tree_with({"protocol": "PROMETHEUS"}))


def test_a_host_tells_what_it_lacks_and_what_would_do() -> None:
    lack = find_lack(tree_with(lb_algorithm="SOURCE_IP_PORT"), OLD)
    assert lack is not None
    assert lack.slug == "feature-missing"
    assert lack.sentence == (
        "Pool pool: the algorithm SOURCE_IP_PORT needs HAProxy 2.6 or newer; the host has 2.4.22 on one."
    )
    built = find_lack(tree_with({"protocol": "PROMETHEUS"}), BARE)
    assert built is not None
    assert built.sentence == (
        "Listener web: a listener of protocol PROMETHEUS needs HAProxy 2.4 or newer that was built with its "
        "Prometheus exporter; the host has 3.0.5 on three."
    )
    assert find_lack(tree_with(lb_algorithm="SOURCE_IP_PORT"), NEW) is None


def test_only_what_no_host_has_is_refused() -> None:
    assert list_lacking([]) == ()
    assert list_lacking([OLD, NEW]) == ()
    assert list_lacking([OLD]) == (HASHES,)
    assert list_lacking([BARE]) == (METRICS,)
    hashed = tree_with(lb_algorithm="SOURCE_IP_PORT")
    check_features(hashed, [OLD, NEW])
    with pytest.raises(Refused) as refused:
        check_features(hashed, [OLD])
    assert refused.value.kind == Refusal.UNSUPPORTED
    assert refused.value.sentence == (
        "the algorithm SOURCE_IP_PORT needs HAProxy 2.6 or newer; the newest of all hosts is 2.4.22 on one"
    )


def test_what_is_there_already_may_be_edited() -> None:
    hashed, plain = tree_with(lb_algorithm="SOURCE_IP_PORT"), tree_with()
    renamed = tree_with({"name": "other"}, lb_algorithm="SOURCE_IP_PORT")
    assert refuse_lacking(lambda _: renamed, [OLD])(hashed) == renamed
    with pytest.raises(Refused):
        refuse_lacking(lambda _: hashed, [OLD])(plain)
    decide = refuse_lacking(lambda _: hashed, [NEW])
    assert decide(plain) == hashed


@pytest.mark.parametrize(
    ("protocol", "hosts", "words"),
    [
        ("UDP", [], ""),
        ("UDP", [NEW], "listener protocol UDP, which needs nginx with its stream module, or IPVS"),
        ("UDP", [NEW, Installed(version=(2, 4, 0), engines=("haproxy", "nginx"))], ""),
        ("SCTP", [], "listener protocol SCTP, which needs IPVS in the kernel"),
        ("SCTP", [Installed(version=(2, 6, 0), engines=("haproxy", "ipvs"))], "and SCTP in the kernel; no host has it"),
        ("SCTP", [NEW, Installed(version=(2, 6, 0), engines=("haproxy", "ipvs", "sctp"))], ""),
    ],
)
def test_datagrams_are_offered_where_a_host_carries_them(protocol: str, hosts: list[Installed], words: str) -> None:
    tree = tree_with({"protocol": protocol}, protocol=protocol)
    decide = refuse_lacking(lambda _: tree, hosts)
    # What is there already may be edited.
    assert decide(tree) == tree
    if not words:
        assert decide(tree_with()) == tree
        return
    with pytest.raises(Refused, match=words) as told:
        decide(tree_with())
    assert told.value.kind is Refusal.UNSUPPORTED


def test_checks_over_sctp_are_offered_where_the_kernel_speaks_it() -> None:
    datagrams: dict[str, Any] = {"listener": {"protocol": "UDP"}, "protocol": "UDP"}
    tree, other = tree_with(**datagrams, health_monitor=MONITOR | {"type": "SCTP"}), tree_with(**datagrams)
    mute, able = (Installed(version=(2, 6, 0), engines=("haproxy", "nginx", *more)) for more in ((), ("sctp",)))
    for hosts in ([], [mute]):
        with pytest.raises(Refused, match="a health monitor of type SCTP, which needs SCTP in the kernel") as told:
            refuse_lacking(lambda _: tree, hosts)(other)
        assert told.value.kind is Refusal.UNSUPPORTED
        # What is there already may be edited.
        assert refuse_lacking(lambda _: tree, hosts)(tree) == tree
    assert refuse_lacking(lambda _: tree, [mute, able])(other) == tree
    assert [serves(tree, one) for one in (mute, able)] == [False, True]
    assert serves(other, mute)


@pytest.mark.parametrize("protocol", list(PoolProtocol))
def test_pools_of_every_protocol_are_judged(protocol: PoolProtocol) -> None:
    tree = tree_with({"protocol": "TCP"}, protocol=protocol)
    assert serves(tree, NEW) == (protocol.value not in {one.value for one in DATAGRAM_PROTOCOLS})
