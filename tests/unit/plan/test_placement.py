"""On which host an amphora is built, and the sentence when there is none."""

from collections import Counter

import msgspec
import pytest

from statera.base.reason import Reason
from statera.model.amphora import Host
from statera.plan.placement import choose_host, list_able
from tests.golden.cases import make_tree


def host(name: str, count: int = 0, *, limit: int = 10, reachable: bool = True, why: str | None = None) -> Host:
    reason = Reason(slug="agent-unreachable", sentence=why) if why else None
    return Host(name=name, reachable=reachable, amphora_count=count, amphora_limit=limit, reason=reason)


@pytest.mark.parametrize(
    ("hosts", "placed", "avoid", "chosen"),
    [
        ([host("a", 3), host("b", 2), host("c", 4)], {}, (), "b"),
        ([host("b"), host("a")], {}, (), "a"),
        ([host("a", 1), host("b", 2)], {"a": 5}, (), "b"),
        ([host("a", 5), host("b", 2)], {"a": 1}, (), "b"),
        ([host("a", 0), host("b", 9)], {}, ("a",), "b"),
        ([host("a", 0), host("b", 9)], {}, ("a", "b"), "a"),
        ([host("a", 0), host("b", 10)], {}, ("a",), "a"),
        ([host("a", 0, reachable=False), host("b", 9)], {}, (), "b"),
        ([host("a", 0, limit=1), host("b", 9)], {"a": 1}, (), "b"),
    ],
    ids=[
        "least loaded",
        "first name of equals",
        "rows count before what is built",
        "what is built counts without rows",
        "not beside the other amphora",
        "beside it when all are",
        "beside it when the others are full",
        "not where nobody answers",
        "rows fill a host",
    ],
)
def test_choice(hosts: list[Host], placed: dict[str, int], avoid: tuple[str, ...], chosen: str):
    assert choose_host(hosts, placed, avoid) == chosen


@pytest.mark.parametrize(
    ("hosts", "slug", "words"),
    [
        ([], "no-host-reachable", "none is configured"),
        ([host("a", reachable=False, why="Connection refused.")], "no-host-reachable", "a: Connection refused."),
        ([host("a", reachable=False)], "no-host-reachable", "a: no answer"),
        ([host(f"h{n}", reachable=False) for n in range(5)], "no-host-reachable", "none of 5 answers"),
        ([host("a", 10), host("b", 3, limit=3)], "host-full", "a (10), b (3) hold as many as they may."),
        ([host("a", 10), host("b", reachable=False)], "host-full", "a (10)"),
        ([host(f"h{n}", 10) for n in range(5)], "host-full", "and 2 more"),
        (
            [msgspec.structs.replace(host("a", 10), limited_by="it may open 99 files"), host("b", 10)],
            "host-full",
            "a (10), b (10) hold as many as they may. Of a: it may open 99 files.",
        ),
    ],
)
def test_no_host_says_why(hosts: list[Host], slug: str, words: str):
    reason = choose_host(hosts, {})
    assert isinstance(reason, Reason)
    assert reason.slug == slug
    assert words in reason.sentence


def in_zone(name: str, zone: str | None) -> Host:
    return msgspec.structs.replace(host(name), zone=zone)


def test_only_hosts_of_the_zone_are_chosen() -> None:
    hosts = [in_zone("a", ""), in_zone("b", "east"), in_zone("c", "west")]
    assert choose_host(hosts, {"b": 9}, zone="east") == "b"
    assert choose_host(hosts, {"a": 1, "b": 9}) == "c"
    reason = choose_host(hosts, {}, zone="north")
    assert isinstance(reason, Reason)
    assert reason.slug == "zone-without-host"
    assert reason.sentence == "No host can take an amphora: none is in compute zone north."
    # One that stands for any zone.
    assert choose_host([*hosts, in_zone("d", None)], {}, zone="north") == "d"


def test_load_balancers_that_are_created_at_once_do_not_all_go_to_one_host() -> None:
    hosts = [host("a"), host("b"), host("c")]
    chosen = Counter(choose_host(hosts, {}, whose=f"balancer-{number}") for number in range(300))
    assert set(chosen) == {"a", "b", "c"}
    assert min(chosen.values()) > 60
    assert choose_host(hosts, {}, whose="balancer-1") == choose_host(hosts[::-1], {}, whose="balancer-1")
    assert choose_host(hosts, {"a": 1, "b": 1}, whose="balancer-1") == "c"


def test_hosts_that_can_serve_the_tree_are_preferred() -> None:
    tree = make_tree(
        {
            "listeners": [{"id": "listener", "protocol": "UDP", "protocol_port": 53}],
            "pools": [{"id": "pool", "protocol": "UDP", "lb_algorithm": "SOURCE_IP_PORT"}],
        }
    )
    versions = {"a": {"haproxy": "2.6.12"}, "b": {"haproxy": "2.4.22", "nginx": "1.22"}}
    hosts = [msgspec.structs.replace(host(name), engine_versions=told) for name, told in versions.items()]
    # None can: what is missing is said of the one that is chosen.
    assert list_able(hosts, tree) == hosts
    good = msgspec.structs.replace(host("c", 9), engine_versions={"haproxy": "2.6.12", "nginx": "1.22"})
    assert list_able([*hosts, good], tree) == [good]
    assert list_able([*hosts, msgspec.structs.replace(good, reachable=False)], tree)[0].name == "a"
    assert len(list_able([*hosts, good], make_tree({"listeners": [], "pools": []}))) == 3
