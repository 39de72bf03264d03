"""Bad input on every operation of the table of routes: the contract's refusal, with the field named, never a fault."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from statera.api.call import Route
from statera.api.fields import BadValue
from statera.api.listing import PAGING
from statera.api.routes import RESOURCES
from statera.api.wire import Nested, Wire, fields_of
from tests.contract.conftest import make_settings
from tests.contract.planting import plant
from tests.contract.serving import serve

MISSING = "11111111-2222-3333-4444-555555555555"
IDS = [MISSING, "x", "%00", "a%0Ab", "%F0%9F%98%80", "..%2F..", "x" * 300, "%25s", "0", "{pool_id}", "'--", "Nobody"]
"""Foreign and impossible ids, as they stand in a path."""
ODD: list[Any] = [
    "\x00", "a\nb\x1b[0m\x00", "a" * 5000, "", 2**70, -(2**70), 2**63, 1e308, 0.1, True, [], [None], [[]], {},
    {"a": {"a": {}}}, "NaN",
]  # fmt: skip
ODD_TEXTS = ["%00", "%FF", str(2**70), "1e999", "", "x" * 3000, "%ED%A0%80", "-1", "a,b,,c:desc:x", "%0A"]
MALFORMED = ["", " ", "{", "nul", "[1,", '{"a": 1} x', "\x00", '{"a": NaN}', "[" * 100_000, '"\\ud800"', "\ufeff{}"]
NOT_OBJECTS = ["null", "[]", "1", '"x"', "true", "{}"]
WRITES = [route for route in RESOURCES if route.body is not None and issubclass(route.body, Wire) and route.root]
WITH_IDS = [route for route in RESOURCES if "{" in route.path]
MOST_BYTES = 114_688

GOOD: dict[str, dict[str, Any]] = {
    "LoadBalancerCreate": {"vip_subnet_id": "{subnet_id}"},
    "ListenerCreate": {"loadbalancer_id": "{loadbalancer_id}", "protocol": "HTTP", "protocol_port": 8080},
    "PoolCreate": {"loadbalancer_id": "{loadbalancer_id}", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
    "MemberCreate": {"address": "10.7.0.2", "protocol_port": 80},
    "HealthMonitorCreate": {"pool_id": "{pool_id}", "type": "TCP", "delay": 5, "timeout": 4, "max_retries": 3},
    "L7PolicyCreate": {"listener_id": "{listener_id}", "action": "REJECT"},
    "L7RuleCreate": {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"},
    "FlavorCreate": {"name": "n", "flavor_profile_id": "{flavorprofile_id}"},
    "FlavorProfileCreate": {"name": "n", "provider_name": "amphora", "flavor_data": "{{}}"},
    "AvailabilityZoneCreate": {"name": "n", "availability_zone_profile_id": "{availability_zone_profile_id}"},
    "RequestGiven": {"port": 80},
    "AvailabilityZoneProfileCreate": {"name": "n", "provider_name": "amphora", "availability_zone_data": "{{}}"},
}
"""What is mandatory, so that nothing else is refused first."""


def name_route(route: Route) -> str:
    return f"{route.method} {route.path}"


class Ground:
    """A running API with one object of each kind."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api
        self.ids = plant(api)

    def path(self, route: Route, **ids: str) -> str:
        path = route.path[1:] if route.path.startswith("//") else f"/v2/lbaas{route.path}"
        return path.format(**(dict.fromkeys(re.findall(r"{(\w+)}", path), MISSING) | self.ids | ids))

    def good(self, route: Route) -> dict[str, Any]:
        values = GOOD.get(route.body.__name__, {})
        return {name: one.format(**self.ids) if isinstance(one, str) else one for name, one in values.items()}

    def send(self, route: Route, content: str | bytes, **headers: str) -> httpx.Response:
        told = {"Content-Type": "application/json"} | headers
        text = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        return self.api.request(route.method, self.path(route), content=text, headers=told)

    def give(self, route: Route, values: Any) -> httpx.Response:
        return self.send(route, json.dumps({route.root: [values] if route.is_list else values}))


@pytest.fixture(scope="module")
def ground(module_database_url: str) -> Iterator[Ground]:
    noop = {"compute": {"driver": "noop"}, "network": {"driver": "noop"}}
    with serve(module_database_url, make_settings(**noop)) as url, httpx.Client(base_url=url, timeout=30) as api:
        yield Ground(api)


def read_refusal(answer: httpx.Response, *statuses: int) -> str:
    """Return the sentence of a refusal."""
    assert answer.status_code in statuses, (answer.request.url, answer.request.content[:500], answer.text)
    body = answer.json()
    return str(body.get("faultstring") or body.get("description"))


@pytest.mark.parametrize("route", WRITES, ids=name_route)
def test_what_is_no_object(ground: Ground, route: Route) -> None:
    for text in MALFORMED:
        sentence = read_refusal(ground.send(route, text), 400)
        assert sentence == "Request is not in valid JSON format" or sentence.startswith("Missing argument: ")
    for text in NOT_OBJECTS:
        read_refusal(ground.send(route, text), 400)
    others: list[Any] = [None, 1, "x", {} if route.is_list else [], [1], True]
    for value in others:
        sentence = read_refusal(ground.send(route, json.dumps({route.root: value})), 400)
        assert route.root in sentence
    sentence = read_refusal(ground.send(route, '{"stranger": {}}'), 400)
    assert sentence.startswith("Unknown attribute for argument ")
    assert sentence.endswith(": stranger")


@pytest.mark.parametrize("route", WRITES, ids=name_route)
def test_too_large_or_of_another_kind(ground: Ground, route: Route) -> None:
    large = ground.send(route, json.dumps({route.root: {"name": "x" * MOST_BYTES}}), Accept="application/json")
    assert (large.status_code, large.json()["code"]) == (413, "413 Request Entity Too Large")
    assert ground.send(route, b"a: 1", **{"Content-Type": "application/yaml"}).status_code == 415
    assert ground.send(route, "{}", Accept="text/html").status_code == 406
    assert read_refusal(ground.send(route, b'{"\xff": 1}'), 400) == "Request is not in valid JSON format"


@pytest.mark.parametrize("route", WRITES, ids=name_route)
def test_unknown_and_odd_fields(ground: Ground, route: Route) -> None:
    good = ground.good(route)
    sentence = read_refusal(ground.give(route, good | {"stranger": 1}), 400)
    assert sentence.startswith("Unknown attribute for argument ")
    assert sentence.endswith(": stranger")
    for name, (field, mandatory) in fields_of(route.body).items():
        for value in [*([None] if mandatory else []), *ODD]:
            if value is not None and is_taken(field, value):
                continue
            inner = getattr(field, "item", field)
            sentence = read_refusal(ground.give(route, good | {name: value}), 400)
            assert name in sentence or isinstance(inner, Nested), (name, value, sentence)


def is_taken(field: Any, value: Any) -> bool:
    """Say whether a field takes a value as far as its type goes; the handler may refuse it nevertheless."""
    try:
        field.read(value)
    except BadValue:
        return False
    except Exception:
        # What a nested object may not hold: the whole refuses it.
        return False
    return True


@pytest.mark.parametrize("route", WRITES, ids=name_route)
def test_values_of_the_right_type_make_no_fault(ground: Ground, route: Route) -> None:
    good = ground.good(route)
    for name, (field, _mandatory) in fields_of(route.body).items():
        for value in ODD:
            if is_taken(field, value):
                answer = ground.give(route, good | {name: value})
                assert answer.status_code in (200, 201, 202, 400, 403, 404, 409, 501), (name, value, answer.text)


@pytest.mark.parametrize("route", WITH_IDS, ids=name_route)
def test_foreign_ids(ground: Ground, route: Route) -> None:
    """Each id of a path in turn. Quotas and projects take any name for one, networks without an outside any id."""
    path = ground.path(route)
    body = json.dumps({route.root: {}}) if route.body is not None else None
    for name in re.findall(r"{(\w+)}", route.path):
        for one in IDS:
            path = ground.path(route, **{name: one})
            answer = ground.api.request(route.method, path, content=body, headers={"Content-Type": "application/json"})
            takes_any = name in ("project_id", "provider") or route.path.startswith("//network")
            allowed = (200, 202, 400, 404) if takes_any else (400, 404)
            assert answer.status_code in allowed, (route.method, path, answer.text)


@pytest.mark.parametrize("route", [route for route in RESOURCES if route.arguments], ids=name_route)
def test_odd_queries(ground: Ground, route: Route) -> None:
    path = ground.path(route)
    if route.method == "DELETE":
        path = ground.path(route, **dict.fromkeys(re.findall(r"{(\w+)}", route.path), MISSING))
    for name in (*dict.fromkeys(route.arguments), "stranger", "%00", "a[]"):
        for value in ODD_TEXTS if name in PAGING else ODD_TEXTS[:4]:
            answer = ground.api.request(route.method, f"{path}?{name}={value}&{name}={value}")
            assert answer.status_code in (200, 400, 404), (route.method, f"{path}?{name}={value}", answer.text)


@pytest.mark.parametrize(
    "values",
    [
        {"bit_length": 2**31}, {"bit_length": -1}, {"algorithm": "a\x00"}, {"mode": "\x00"}, {"name": "x" * 256},
        {"secret_type": "\x00"}, {"expiration": "0001-01-01T00:00:00+10:00"}, {"expiration": "soon"}, {"payload": 1},
        {"payload": "x", "payload_content_type": "text/html"}, {"payload": "", "payload_content_type": "text/plain"},
    ],
)  # fmt: skip
def test_odd_secrets(ground: Ground, values: dict[str, Any]) -> None:
    answer = ground.api.post("/key-manager/v1/secrets", json=values)
    assert answer.status_code == 400, answer.text
