"""`POST /loadbalancers/{id}/explain`: whom a described request meets, and why nothing else."""

from typing import Any

import pytest

from statera.api import explain
from tests.contract.client import Api

MISSING = "00000000-0000-0000-0000-000000000000"


async def make_routed(api: Api, **rule: Any) -> dict[str, Any]:
    """Create a load balancer whose policies choose between two pools."""
    member = {"address": "10.7.0.1", "protocol_port": 80, "name": "one"}
    backup = {"address": "10.7.0.2", "protocol_port": 80, "name": "two", "backup": True}
    static = {"name": "static", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [member, backup]}
    a_rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/static"} | rule
    refused = {"type": "HEADER", "key": "X-No", "compare_type": "EQUAL_TO", "value": "1"}
    policies = [
        {"name": "away", "action": "REDIRECT_TO_URL", "redirect_url": "https://x.example/", "admin_state_up": False},
        {"name": "to-static", "action": "REDIRECT_TO_POOL", "redirect_pool": static, "rules": [a_rule]},
        {"name": "no", "action": "REJECT", "rules": [refused]},
    ]
    app = {"name": "app", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": app, "l7policies": policies}
    return await api.create_balancer(listeners=[listener | {"allowed_cidrs": ["192.0.2.0/24"]}])


async def ask(api: Api, balancer: dict[str, Any], **request: Any) -> dict[str, Any]:
    answer = await api.ask("POST", f"/loadbalancers/{balancer['id']}/explain", {"request": {"port": 80} | request})
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["explanation"])


async def test_who_takes_a_request(api: Api) -> None:
    balancer = await make_routed(api)
    pools = {pool["name"]: pool["id"] for pool in balancer["pools"]}
    told = await ask(api, balancer, path="/static/a?b", headers={"X-No": ["0", "2"]}, client_address="192.0.2.9")
    assert (told["pool_id"], told["listener_id"]) == (pools["static"], balancer["listeners"][0]["id"])
    assert told["sentence"] == "Policy to-static chooses pool static."
    assert [(one["name"], one["matched"], one["sentence"]) for one in told["l7policies"]] == [
        ("no", False, "1 of its 1 rules did not match."),
        ("away", False, "The policy is administratively down."),
        ("to-static", True, "All of its rules matched."),
    ]
    (rule,) = told["l7policies"][0]["rules"]
    assert rule["sentence"] == "HEADER X-No is '0', '2', which does not match EQUAL_TO '1'."
    assert [(one["name"], one["takes_requests"], one["sentence"]) for one in told["members"]] == [
        ("one", True, "It takes requests."),
        ("two", False, "It is a backup, and other members work."),
    ]
    told = await ask(api, balancer, path="/static", headers={"x-no": "1"})
    assert (told["status_code"], told["sentence"]) == (403, "Policy no rejects the request.")
    assert told["l7policies"][2]["sentence"] == (
        "Its rules match, but policy no comes first: pools are chosen after all that reject or redirect."
    )
    first = {"l7policy": {"position": 1}}
    moved = await api.ask("PUT", f"/l7policies/{told['l7policy_id']}", first)
    assert moved.status_code == 200, moved.text
    told = await ask(api, balancer, path="/static", headers={"x-no": "1"})
    sentences = {one["name"]: one["sentence"] for one in told["l7policies"]}
    assert sentences["to-static"] == "Its rules match, but policy no comes first."
    told = await ask(api, balancer, path="/other")
    assert (told["pool_id"], told["l7policy_id"]) == (pools["app"], None)
    assert told["sentence"] == "The default pool app takes it. None of its members takes requests."
    told = await ask(api, balancer, client_address="198.51.100.1")
    assert told["sentence"] == "The listener's allowed_cidrs do not hold 198.51.100.1: the connection is closed."
    assert (await ask(api, balancer, port=81))["sentence"] == "No listener is on port 81."


async def test_regular_expressions_end_in_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    balancer = await make_routed(api, compare_type="REGEX", value="^/(a|aa)+$")
    assert (await ask(api, balancer, path="/aaa"))["sentence"] == "Policy to-static chooses pool static."
    body = {"request": {"port": 80, "path": f"/{'a' * 100}b"}}
    path = f"/loadbalancers/{balancer['id']}/explain"
    sentence = await api.refuse("POST", path, body, status=400)
    assert sentence == "A regular expression takes too long with this request."
    monkeypatch.setattr(explain, "MOST_JUDGES", 0)
    answer = await api.ask("POST", path, body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    "request_",
    [
        {}, {"port": 0}, {"port": 80, "path": "a"}, {"port": 80, "path": "/a b"}, {"port": 80, "path": "/a#b"},
        {"port": 80, "host": "a b"}, {"port": 80, "headers": {"a b": "c"}}, {"port": 80, "headers": {"a": "b\nc"}},
        {"port": 80, "headers": ["a"]}, {"port": 80, "headers": {"a": 1}}, {"port": 80, "headers": {"a": ["b"] * 101}},
        {"port": 80, "client_address": "x"}, {"port": 80, "body": "x"}, {"port": 80, "method": "G T"},
    ],
)  # fmt: skip
async def test_requests_that_are_none(api: Api, request_: dict[str, Any]) -> None:
    balancer = await api.create_balancer()
    await api.refuse("POST", f"/loadbalancers/{balancer['id']}/explain", {"request": request_}, status=400)
    sentence = await api.refuse("POST", f"/loadbalancers/{MISSING}/explain", {"request": {"port": 1}}, status=404)
    assert sentence == f"Load Balancer {MISSING} not found."


@pytest.mark.parametrize(
    ("method", "path", "code"), [("GET", "/metrics?x", 200), ("GET", "/", 404), ("POST", "/metrics", 405)]
)
async def test_a_listener_of_metrics_answers_itself(api: Api, method: str, path: str, code: int) -> None:
    balancer = await api.create_balancer(listeners=[{"protocol": "PROMETHEUS", "protocol_port": 9090}])
    told = await ask(api, balancer, port=9090, method=method, path=path)
    assert (told["status_code"], told["pool_id"], told["members"]) == (code, None, [])


async def test_a_port_of_datagrams_meets_its_listener_unless_one_over_tcp_has_it_too(api: Api) -> None:
    pool = {"name": "dns", "protocol": "UDP", "lb_algorithm": "ROUND_ROBIN"}
    pool["members"] = [{"address": "10.7.0.1", "protocol_port": 53}]  # type: ignore[assignment]
    balancer = await api.create_balancer(listeners=[{"protocol": "UDP", "protocol_port": 53, "default_pool": pool}])
    told = await ask(api, balancer, port=53)
    assert told["sentence"] == "The default pool dns takes it."
    assert [one["takes_requests"] for one in told["members"]] == [True]
    await api.create_listener(loadbalancer_id=balancer["id"], protocol="TCP", protocol_port=53)
    assert (await ask(api, balancer, port=53))["sentence"] == "No policy matched, and the default pool is missing."
