"""Bodies of every kind of junk are refused or accepted, never a fault of ours."""

import random
from typing import Any

import pytest

from statera.api.fulltree import ListenerInTree, PoolInTree
from statera.api.wire import Nested, Wire, fields_of
from tests.contract.client import Api
from tests.contract.test_tables import CREATED, UPDATED

JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 80, 2**31, 2**63, 2**70, -(2**70), 1e300, 0.5, "", " ", "x", "0", "80", "true", "None",
    "a" * 256, "a" * 3000, "\x00", "\n", "é", "\U0001f600", "\ud7ff", "%s", "'; DROP TABLE pools; --", "../..", "{}",
    "10.0.0.1", "fd00::1", "fe80::1%lo", "::ffff:10.0.0.1", "0.0.0.0", "10.0.0.0/8", "/", "//x", "/%zz", "HTTP", "TCP",
    "UDP", "SOURCE_IP", "APP_COOKIE", "ROUND_ROBIN", "GET", "200", "200-204", "a.example",
    "00000000-0000-0000-0000-000000000000", "{00000000-0000-0000-0000-000000000000}", [], [None], ["x"], ["x", "x"],
    [[]], [{}], {}, {"": ""}, {"x": None}, {"X-Forwarded-For": "true"}, {"type": "SOURCE_IP"}, {"type": None},
]  # fmt: skip
ALLOWED = (200, 201, 400, 404, 409, 501)


def make_body(dice: random.Random, kind: type[Wire], good: dict[str, Any]) -> dict[str, Any]:
    """Return some good and some junk values for a body's fields."""
    body = {name: value for name, value in good.items() if dice.random() < 0.9}
    for name, (field, _mandatory) in fields_of(kind).items():
        if dice.random() < 0.15:
            inner = getattr(field, "item", field)
            if isinstance(inner, Nested) and dice.random() < 0.5:
                body[name] = (
                    [make_body(dice, inner.kind, {})] if field is not inner else make_body(dice, inner.kind, {})
                )
            else:
                body[name] = dice.choice(JUNK)
    if dice.random() < 0.02:
        body[str(dice.choice(JUNK))] = dice.choice(JUNK)
    return body


@pytest.mark.parametrize("seed", range(6))
async def test_junk(api: Api, seed: int) -> None:
    dice = random.Random(seed)
    balancer = await api.create_balancer()
    pool = await api.create_pool(loadbalancer_id=balancer["id"])
    listener = await api.create("listeners", loadbalancer_id=balancer["id"], protocol="HTTP", protocol_port=8000)
    member = await api.create(f"pools/{pool['id']}/members", address="10.7.0.1", protocol_port=80)
    monitor = {"pool_id": pool["id"], "type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1}
    made = await api.create("healthmonitors", **monitor)
    parent = {"loadbalancer_id": balancer["id"]}
    places: list[tuple[str, str, str, type[Wire], dict[str, Any]]] = [
        ("POST", "/loadbalancers", "loadbalancer", CREATED["loadbalancer"], {"vip_subnet_id": api.subnet_id("back4")}),
        ("POST", "/listeners", "listener", CREATED["listener"], parent | {"protocol": "HTTP", "protocol_port": 80}),
        ("POST", "/pools", "pool", CREATED["pool"], parent | {"protocol": "HTTP", "lb_algorithm": "SOURCE_IP"}),
        (
            "POST",
            f"/pools/{pool['id']}/members",
            "member",
            CREATED["member"],
            {"address": "10.7.0.2", "protocol_port": 1},
        ),
        ("POST", "/healthmonitors", "healthmonitor", CREATED["healthmonitor"], monitor),
        ("PUT", f"/loadbalancers/{balancer['id']}", "loadbalancer", UPDATED["loadbalancer"], {}),
        ("PUT", f"/listeners/{listener['id']}", "listener", UPDATED["listener"], {}),
        ("PUT", f"/pools/{pool['id']}", "pool", UPDATED["pool"], {}),
        ("PUT", f"/pools/{pool['id']}/members/{member['id']}", "member", UPDATED["member"], {}),
        ("PUT", f"/healthmonitors/{made['id']}", "healthmonitor", UPDATED["healthmonitor"], {}),
    ]
    for _ in range(30):
        for method, path, root, kind, good in places:
            body = make_body(dice, kind, good)
            answer = await api.ask(method, path, {root: body})
            assert answer.status_code in ALLOWED, (method, path, body, answer.text)
            assert answer.status_code != 404 or "not found" in answer.text, (method, path, body)
    shown = await api.get(f"/loadbalancers/{balancer['id']}")
    assert shown["loadbalancer"]["id"] == balancer["id"]


def test_nested_structs_are_reached() -> None:
    assert {ListenerInTree, PoolInTree} <= {
        inner.kind
        for field, _mandatory in fields_of(CREATED["loadbalancer"]).values()
        if isinstance(inner := getattr(field, "item", field), Nested)
    }


@pytest.mark.parametrize(
    "name", ["name", "created_at", "protocol_port", "id", "limit", "marker", "sort", "tags", "fields"]
)
async def test_junk_in_queries(api: Api, name: str) -> None:
    for value in JUNK:
        for path in ("/listeners", "/healthmonitors", "/loadbalancers"):
            answer = await api.ask("GET", path, params={name: str(value)})
            assert answer.status_code in (200, 400), (name, value, answer.text)


@pytest.mark.parametrize(("host", "status"), [("[", 400), ("[::1", 400), ("u@h", 400), ("[::1]:80", 200), ("a:b", 200)])
async def test_junk_for_a_host(api: Api, host: str, status: int) -> None:
    for path in ("/loadbalancers", "/loadbalancers?limit=1"):
        assert (await api.ask("GET", path, headers={"host": host})).status_code == status


async def test_junk_for_a_number_of_events(api: Api) -> None:
    balancer = await api.create_balancer()
    for limit in ("0", "-1", "9" * 18, "9" * 5000, "²", ""):
        answer = await api.ask("GET", f"/loadbalancers/{balancer['id']}/events", params={"limit": limit})
        assert answer.status_code == 200, limit
