"""What HAProxy says of itself is read as it is, and told where it is not what the API shows."""

import msgspec
import pytest

from tests.chaos.engines import Wanted, list_differences, parse_file, parse_statistics

FILE = """\
# Load balancer l1, amphora a1
global
    maxconn 2000
defaults
    timeout queue 5s
frontend l1
    mode http
    maxconn 1001
    default_backend p1:l1
backend p1:l1
    balance source
    hash-type consistent
    server m1 10.0.0.1:8080 weight 3 id 17 check inter 5000ms
    server m2 10.0.0.2:8080 weight 1
"""
STATISTICS = """\
# pxname,svname,slim,status,weight,algo,
l1,FRONTEND,1001,OPEN,,,
p1:l1,m1,,UP,3,,
p1:l1,m2,,UP,1,,
p1:l1,m3,,MAINT,1,,
p1:l1,BACKEND,200,UP,4,source,
"""
WANTED = Wanted(
    listener_id="l1", connection_limit=1001, pool_id="p1", algorithm="SOURCE_IP", members={"m1": 3, "m2": 1}
)


def test_what_is_served_as_wanted_is_not_told() -> None:
    served, running = parse_file(FILE), parse_statistics(STATISTICS)
    running.limits["global"] = served.limits["global"]
    assert list(list_differences(WANTED, served)) == list(list_differences(WANTED, running)) == []


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"connection_limit": 1002}, "listener l1 takes 1001 connections, not 1002"),
        ({"connection_limit": -1}, "listener l1 takes 1001 connections, not 2000"),
        ({"algorithm": "ROUND_ROBIN"}, "pool p1 balances by source, not ROUND_ROBIN"),
        ({"members": {"m1": 3}}, "pool p1 has weights {'m1': 3, 'm2': 1}, not {'m1': 3}"),
        ({"members": {"m1": 3, "m2": 2}}, "pool p1 has weights {'m1': 3, 'm2': 1}, not {'m1': 3, 'm2': 2}"),
    ],
)
def test_an_edit_that_did_not_come_to_haproxy_is_told(other: dict[str, object], told: str) -> None:
    assert list(list_differences(msgspec.structs.replace(WANTED, **other), parse_file(FILE))) == [told]
