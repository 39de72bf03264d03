"""L7 policies and rules (rules.md section 18): actions, positions, rules, their pools, creation in one call."""

from typing import Any

import pytest

from tests.contract.client import Api
from tests.contract.tables import read_json

ENUMS = read_json("enums")
POOL_ID = "00000000-0000-0000-0000-00000000000a"
URL, PREFIX = "https://a.example/b?c=1#d", "http://[fd00::1]:8080"
A_RULE = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a"}
BAD_ARGUMENTS = "Invalid L7 Policy arguments: "
BOTH = f"{BAD_ARGUMENTS}Cannot specify redirect_pool_id and redirect_url or redirect_prefix at the same time"


async def create_rule(api: Api, policy_id: str, **values: Any) -> dict[str, Any]:
    return await api.create(f"l7policies/{policy_id}/rules", **(A_RULE | values))


# Actions


def shown_targets(policy: dict[str, Any]) -> dict[str, Any]:
    targets = ("redirect_pool_id", "redirect_url", "redirect_prefix", "redirect_http_code")
    return {name.removeprefix("redirect_"): policy[name] for name in targets if policy[name] is not None}


GIVEN = [
    ({"action": "REJECT", "redirect_url": URL, "redirect_prefix": PREFIX, "redirect_pool_id": POOL_ID}, "REJECT", {}),
    ({"action": "REJECT", "redirect_http_code": 301}, "REJECT", {"http_code": 301}),
    ({"action": "REDIRECT_TO_URL", "redirect_url": URL}, "REDIRECT_TO_URL", {"url": URL, "http_code": 302}),
    (
        {"action": "REDIRECT_TO_URL", "redirect_url": URL, "redirect_prefix": PREFIX, "redirect_http_code": "307"},
        "REDIRECT_TO_URL",
        {"url": URL, "http_code": 307},
    ),
    ({"action": "REDIRECT_PREFIX", "redirect_prefix": PREFIX}, "REDIRECT_PREFIX", {"prefix": PREFIX, "http_code": 302}),
    (
        {"action": "REDIRECT_PREFIX", "redirect_prefix": PREFIX, "redirect_url": URL},
        "REDIRECT_TO_URL",
        {"url": URL, "http_code": 302},
    ),
]


@pytest.mark.parametrize(("given", "action", "targets"), GIVEN)
async def test_actions(api: Api, given: dict[str, Any], action: str, targets: dict[str, Any]) -> None:
    made = await api.create_policy(**given)
    assert (made["action"], shown_targets(made)) == (action, targets)


async def test_an_action_with_a_pool(api: Api) -> None:
    pool = await api.create_pool()
    listener = await api.create_listener(loadbalancer_id=pool["loadbalancers"][0]["id"])
    given = {"redirect_pool_id": pool["id"], "redirect_url": URL, "redirect_http_code": 301}
    made = await api.create_policy(listener_id=listener["id"], action="REDIRECT_TO_POOL", **given)
    assert shown_targets(made) == {"pool_id": pool["id"]}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"action": "REDIRECT_TO_URL"}, f"{BAD_ARGUMENTS}redirect_url must not be None"),
        ({"action": "REDIRECT_TO_URL", "redirect_pool_id": POOL_ID}, f"{BAD_ARGUMENTS}redirect_url must not be None"),
        ({"action": "REDIRECT_TO_POOL"}, f"{BAD_ARGUMENTS}redirect_pool_id or redirect_pool must not be None"),
        ({"action": "REDIRECT_PREFIX", "redirect_url": URL}, f"{BAD_ARGUMENTS}redirect_prefix must not be None"),
        ({"action": "REDIRECT_PREFIX", "redirect_prefix": PREFIX, "redirect_pool_id": POOL_ID}, BOTH),
        (
            {"action": "REDIRECT_TO_URL", "redirect_url": URL, "redirect_http_code": 300},
            "Invalid input for field/attribute redirect_http_code. Value: '300'. "
            "Value should be one of: 301, 302, 303, 307, 308",
        ),
        ({}, "Invalid input for field/attribute action. Value: 'None'. Mandatory field missing."),
    ],
)
async def test_actions_that_are_refused(api: Api, given: dict[str, Any], sentence: str) -> None:
    body = {"l7policy": {"listener_id": (await api.create_listener())["id"]} | given}
    assert await api.refuse("POST", "/l7policies", body, status=400) == sentence


URLS = (
    "ftp://a.example/", "a.example", "http://", "http:///x", "https://a.example/ b", "https://a.example/\x01",
    "javascript:x", 'https://a.example/"', "https://a.example/%zz", "https://a.example/\u00fc",
    "https://a.example/${x}", "",
)  # fmt: skip


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("field", ["redirect_url", "redirect_prefix"])
async def test_urls_that_are_none(api: Api, field: str, url: str) -> None:
    body = {"l7policy": {"listener_id": POOL_ID, "action": "REDIRECT_TO_URL", field: url}}
    sentence = await api.refuse("POST", "/l7policies", body, status=400)
    assert sentence == f"Invalid input for field/attribute {field}. Value: '{url}'. Value must be a valid URL string"


async def test_updates_follow_the_body_alone(api: Api) -> None:
    policy = await api.create_policy(action="REDIRECT_TO_URL", redirect_url=URL, redirect_http_code=301)
    path = f"/l7policies/{policy['id']}"

    async def put(**values: Any) -> tuple[str, dict[str, Any]]:
        answer = await api.ask("PUT", path, {"l7policy": values})
        assert answer.status_code == 200, answer.text
        shown = answer.json()["l7policy"]
        return shown["action"], shown_targets(shown)

    assert await put(name="x") == ("REDIRECT_TO_URL", {"url": URL, "http_code": 301})
    assert await put(redirect_url=PREFIX) == ("REDIRECT_TO_URL", {"url": PREFIX, "http_code": 302})
    assert await put(redirect_http_code=303) == ("REDIRECT_TO_URL", {"url": PREFIX, "http_code": 303})
    assert await put(redirect_prefix=PREFIX) == ("REDIRECT_PREFIX", {"prefix": PREFIX, "http_code": 302})
    assert await put(action="REJECT", redirect_http_code=301) == ("REJECT", {})
    for body, sentence in (
        ({"action": "REDIRECT_TO_URL"}, f"{BAD_ARGUMENTS}redirect_url must not be None"),
        ({"redirect_url": URL, "redirect_pool_id": POOL_ID}, BOTH),
        ({"action": None}, "None is not a valid option for action"),
        ({}, f"{BAD_ARGUMENTS}Invalid update options"),
    ):
        assert await api.refuse("PUT", path, {"l7policy": body}, status=400) == sentence


# Listeners and pools


@pytest.mark.parametrize("protocol", ["TCP", "HTTPS"])
async def test_listeners_without_requests(api: Api, protocol: str) -> None:
    listener = await api.create_listener(protocol=protocol)
    body = {"l7policy": {"listener_id": listener["id"], "action": "REJECT"}}
    sentence = await api.refuse("POST", "/l7policies", body, status=501)
    assert sentence == f"Provider 'amphora' does not support a requested option: L7 policies on a {protocol} listener"


async def test_redirect_pools(api: Api) -> None:
    listener = await api.create_listener()
    balancer_id = listener["loadbalancers"][0]["id"]
    foreign = await api.create_pool()
    tcp = await api.create_pool(loadbalancer_id=balancer_id, protocol="TCP")
    matrix = "Validation failure: The pool protocol 'TCP' is invalid while the listener protocol is 'HTTP'."
    for pool_id, status, sentence in (
        (POOL_ID, 404, f"Pool {POOL_ID} not found."),
        (foreign["id"], 404, f"Pool {foreign['id']} not found."),
        (tcp["id"], 400, matrix),
    ):
        body = {"listener_id": listener["id"], "action": "REDIRECT_TO_POOL", "redirect_pool_id": pool_id}
        assert await api.refuse("POST", "/l7policies", {"l7policy": body}, status=status) == sentence


async def test_a_pool_in_use_stays(api: Api) -> None:
    pool = await api.create_pool()
    listener = await api.create_listener(loadbalancer_id=pool["loadbalancers"][0]["id"])
    target = {"listener_id": listener["id"], "redirect_pool_id": pool["id"], "action": "REDIRECT_TO_POOL"}
    policy = await api.create_policy(**target, admin_state_up=False)
    path = f"/pools/{pool['id']}"

    async def list_users() -> list[str]:
        (listed,) = (await api.get(f"/pools?id={pool['id']}"))["pools"]
        shown = (await api.get(path))["pool"]["listeners"]
        assert listed["listeners"] == shown
        return [one["id"] for one in shown]

    assert await api.refuse("DELETE", path, status=409) == f"Pool {pool['id']} is in use by L7 policy {policy['id']}"
    assert await list_users() == []
    await create_rule(api, policy["id"])
    assert await list_users() == []
    await api.ask("PUT", f"/l7policies/{policy['id']}", {"l7policy": {"admin_state_up": True}})
    assert await list_users() == [listener["id"]]
    await api.settle()
    member = await api.create(f"pools/{pool['id']}/members", address="10.7.0.1", protocol_port=80)
    assert member["provisioning_status"] == "PENDING_CREATE"
    shown = (await api.get(f"/listeners/{listener['id']}"))["listener"]
    assert shown["provisioning_status"] == "PENDING_UPDATE"
    tree = (await api.get(f"/loadbalancers/{listener['loadbalancers'][0]['id']}/status"))["statuses"]["loadbalancer"]
    assert [one["id"] for one in tree["listeners"][0]["pools"]] == [pool["id"]]
    await api.ask("DELETE", f"/l7policies/{policy['id']}")
    assert (await api.ask("DELETE", path)).status_code == 204
    await api.settle()
    assert (await api.ask("GET", path)).status_code == 404


async def test_a_deleted_listener_lets_its_pool_go(api: Api) -> None:
    pool = await api.create_pool()
    listener = await api.create_listener(loadbalancer_id=pool["loadbalancers"][0]["id"])
    policy = await api.create_policy(listener_id=listener["id"], redirect_pool_id=pool["id"], action="REDIRECT_TO_POOL")
    await api.ask("DELETE", f"/listeners/{listener['id']}")
    assert (await api.ask("DELETE", f"/l7policies/{policy['id']}")).status_code == 204
    assert (await api.ask("DELETE", f"/pools/{pool['id']}")).status_code == 204
    await api.settle()
    assert (await api.ask("GET", f"/l7policies/{policy['id']}")).status_code == 404


# Positions


async def list_order(api: Api, listener_id: str) -> dict[str, int]:
    listed = (await api.get(f"/l7policies?listener_id={listener_id}&sort=position"))["l7policies"]
    shown = [one["id"] for one in (await api.get(f"/listeners/{listener_id}"))["listener"]["l7policies"]]
    assert shown == [one["id"] for one in listed]
    return {one["name"]: one["position"] for one in listed}


async def test_positions(api: Api) -> None:
    listener_id = (await api.create_listener())["id"]
    made = {}
    for name, given, wanted in (
        ("a", {}, 1),
        ("b", {"position": 99}, 2),
        ("c", {"position": 1}, 1),
        ("d", {"position": 2}, 2),
    ):
        made[name] = await api.create_policy(listener_id=listener_id, name=name, **given)
        assert made[name]["position"] == wanted
    assert await list_order(api, listener_id) == {"c": 1, "d": 2, "a": 3, "b": 4}
    await api.settle()
    for name, position, order in (("c", 3, "dacb"), ("b", 1, "bdac"), ("d", 2147483647, "bacd"), ("a", 2, "bacd")):
        body = {"l7policy": {"position": position}}
        answer = await api.ask("PUT", f"/l7policies/{made[name]['id']}", body)
        assert answer.json()["l7policy"]["position"] == order.index(name) + 1
        assert await list_order(api, listener_id) == {one: number for number, one in enumerate(order, start=1)}
        statuses = (await api.get(f"/l7policies?listener_id={listener_id}"))["l7policies"]
        assert {one["name"] for one in statuses if one["provisioning_status"] != "ACTIVE"} == {name}
        await api.settle()
    await api.ask("DELETE", f"/l7policies/{made['a']['id']}")
    await api.settle()
    assert await list_order(api, listener_id) == {"b": 1, "c": 2, "d": 3}


# Rules

VALUES = {
    "HOST_NAME": "a.example", "PATH": "/a", "FILE_TYPE": "jpg", "HEADER": "x", "COOKIE": "x",
    "SSL_CONN_HAS_CERT": "True", "SSL_VERIFY_RESULT": "10", "SSL_DN_FIELD": "Jos\u00e9 & Co",
}  # fmt: skip
KEYED = ("HEADER", "COOKIE", "SSL_DN_FIELD")


@pytest.mark.parametrize("kind", ENUMS["l7rule_types"])
async def test_rule_types_and_comparisons(api: Api, kind: str) -> None:
    policy = await api.create_policy()
    key = {"key": "X"} if kind in KEYED else {}
    for compare in ENUMS["l7rule_compare_types"]:
        values = {"type": kind, "compare_type": compare, "value": VALUES[kind], **key}
        if compare in ENUMS["l7rule_matrix"][kind]["compare"]:
            made = await create_rule(api, policy["id"], **values)
            assert (made["type"], made["compare_type"], made["key"]) == (kind, compare, key.get("key"))
        else:
            path = f"/l7policies/{policy['id']}/rules"
            sentence = await api.refuse("POST", path, {"rule": values}, status=400)
            assert sentence.startswith("Error parsing L7Rule: Invalid L7 Rule: ")
            assert "compare type" in sentence or "comparison type" in sentence


PARSING = "Error parsing L7Rule: "
REFUSED_RULES = [
    ({"value": ""}, "Invalid L7 Rule: L7 rule type requires a value"),
    ({"value": "a b"}, "Invalid characters in comparison value"),
    ({"value": "caf\u00e9"}, "Invalid characters in comparison value"),
    ({"type": "HEADER"}, "Invalid L7 Rule: L7 rule type requires a key"),
    ({"type": "HEADER", "key": "a b"}, "Invalid characters in key"),
    ({"type": "HEADER", "key": "a", "value": "a b"}, "Invalid characters in header value"),
    ({"type": "COOKIE", "key": "a", "value": "a;b"}, "Invalid characters in cookie value"),
    ({"compare_type": "REGEX", "value": "("}, "Unable to parse regular expression: "),
    ({"compare_type": "REGEX", "value": "[[:alpha:]]"}, "Unable to parse regular expression: named classes"),
    ({"type": "SSL_CONN_HAS_CERT", "compare_type": "EQUAL_TO", "value": "no"}, "Invalid L7 Rule: L7rule value no is"),
    ({"type": "SSL_CONN_HAS_CERT", "compare_type": "EQUAL_TO", "value": "true", "key": "x"}, "Invalid L7 Rule: L7rul"),
    ({"type": "SSL_VERIFY_RESULT", "compare_type": "EQUAL_TO", "value": "-1"}, "Invalid L7 Rule: L7rule type SSL_VERI"),
    ({"type": "SSL_DN_FIELD", "value": "x"}, "Invalid L7 Rule: L7rule type SSL_DN_FIELD needs to specify a key and"),
    ({"type": "SSL_DN_FIELD", "value": "x", "key": "1"}, "Invalid L7 Rule: Invalid L7rule distinguished name field."),
]  # fmt: skip


@pytest.mark.parametrize(("values", "words"), REFUSED_RULES)
async def test_rules_that_are_refused(api: Api, values: dict[str, Any], words: str) -> None:
    policy = await api.create_policy()
    path = f"/l7policies/{policy['id']}/rules"
    sentence = await api.refuse("POST", path, {"rule": A_RULE | values}, status=400)
    assert sentence.startswith(PARSING + words)
    assert (await api.get(path)) == {"rules": [], "rules_links": []}


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\n"])
async def test_rules_are_of_one_line(api: Api, text: str) -> None:
    for field in ("key", "value"):
        body = {"rule": A_RULE | {field: text}}
        sentence = await api.refuse("POST", f"/l7policies/{POOL_ID}/rules", body, status=400)
        assert sentence.endswith(r"Value should match the pattern ^[^\r\n]*$")


async def test_rule_updates_look_at_the_whole(api: Api) -> None:
    policy = await api.create_policy()
    rule = await create_rule(api, policy["id"], type="HEADER", key="X-A", value='"a b"', invert=True)
    path = f"/l7policies/{policy['id']}/rules/{rule['id']}"
    body = {"rule": {"type": "COOKIE"}}
    assert await api.refuse("PUT", path, body, status=400) == f"{PARSING}Invalid characters in cookie value"
    changed = (await api.ask("PUT", path, {"rule": {"type": "PATH"}})).json()["rule"]
    assert (changed["type"], changed["key"], changed["invert"]) == ("PATH", None, True)
    body = {"rule": {"type": "HEADER"}}
    assert (await api.refuse("PUT", path, body, status=400)).endswith("L7 rule type requires a key")
    kept = await create_rule(api, policy["id"], key="kept")
    assert kept["key"] == "kept"


async def test_the_fifty_first_rule(api: Api) -> None:
    policy = await api.create_policy(rules=[A_RULE] * 50)
    assert len(policy["rules"]) == 50
    sentence = await api.refuse("POST", f"/l7policies/{policy['id']}/rules", {"rule": A_RULE}, status=409)
    assert sentence == f"Too many rules on L7 policy {policy['id']}"
    await api.ask("DELETE", f"/l7policies/{policy['id']}/rules/{policy['rules'][0]['id']}")
    await create_rule(api, policy["id"])


async def test_rules_of_another_policy(api: Api) -> None:
    one, other = await api.create_policy(), await api.create_policy()
    rule = await create_rule(api, one["id"])
    for method, body in (("GET", None), ("PUT", {"rule": {}}), ("DELETE", None)):
        path = f"/l7policies/{other['id']}/rules/{rule['id']}"
        assert await api.refuse(method, path, body, status=404) == f"L7 Rule {rule['id']} not found."
    answer = await api.ask("GET", f"/l7policies/{POOL_ID}/rules")
    missing = {"code": 404, "title": "Bad Request", "description": f"L7Policy {POOL_ID} not found."}
    assert (answer.status_code, answer.json()) == (404, missing)


async def test_lists_of_rules(api: Api) -> None:
    policy = await api.create_policy()
    for number in range(4):
        await create_rule(api, policy["id"], value=f"/{number}", invert=number % 2, tags=[f"t{number}"])
    path = f"/l7policies/{policy['id']}/rules"

    async def values(query: str) -> list[str]:
        return [one["value"] for one in (await api.get(f"{path}?{query}"))["rules"]]

    assert await values("invert=true") == ["/1", "/3"]
    assert await values("sort=value:desc&limit=2") == ["/3", "/2"]
    assert await values("tags-any=t0,t3") == ["/0", "/3"]
    assert "One or more arguments" in await api.refuse("GET", f"{path}?name=x", status=400)


async def test_below_a_policy_in_deletion(api: Api) -> None:
    policy = await api.create_policy()
    rule = await create_rule(api, policy["id"])
    await api.ask("DELETE", f"/l7policies/{policy['id']}")
    path = f"/l7policies/{policy['id']}/rules"
    immutable = f"L7Policy {policy['id']} is immutable and cannot be updated."
    assert await api.refuse("POST", path, {"rule": A_RULE}, status=409) == immutable
    assert await api.refuse("PUT", f"{path}/{rule['id']}", {"rule": {}}, status=409) == immutable
    assert (await api.ask("DELETE", f"{path}/{rule['id']}")).status_code == 204


# In one call


async def test_a_whole_tree(api: Api) -> None:
    pool = {"name": "static", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    policies = [
        {"action": "REJECT", "name": "first", "rules": [A_RULE, A_RULE | {"value": "/b", "invert": True}]},
        {"action": "REDIRECT_TO_POOL", "name": "second", "redirect_pool": pool, "rules": [A_RULE], "position": 1},
        {"action": "REDIRECT_TO_POOL", "name": "third", "redirect_pool": {"name": "static"}},
    ]
    listener = {"protocol": "HTTP", "protocol_port": 80, "l7policies": policies}
    made = await api.create_balancer(listeners=[listener])
    (shown,) = made["listeners"]
    assert [(one["name"], one["position"]) for one in shown["l7policies"]] == [
        ("second", 1),
        ("first", 2),
        ("third", 3),
    ]
    second, first, third = shown["l7policies"]
    assert [rule["value"] for rule in first["rules"]] == ["/a", "/b"]
    assert third["redirect_pool_id"] == second["redirect_pool_id"] == made["pools"][0]["id"]
    assert made["pools"][0]["listeners"] == [{"id": shown["id"]}]
    assert {one["provisioning_status"] for one in (first, *first["rules"])} == {"PENDING_CREATE"}
    await api.settle()
    policy = (await api.get(f"/l7policies/{first['id']}"))["l7policy"]
    assert (policy["operating_status"], policy["provisioning_status"]) == ("ONLINE", "ACTIVE")
    assert policy["rules"] == [{"id": rule["id"]} for rule in first["rules"]]
    assert (await api.ask("DELETE", f"/loadbalancers/{made['id']}?cascade=true")).status_code == 204
    await api.settle()
    assert (await api.ask("GET", f"/l7policies/{first['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("policy", "status", "words"),
    [
        ({"action": "REDIRECT_TO_POOL"}, 400, f"{BAD_ARGUMENTS}redirect_pool_id or redirect_pool must not be None"),
        ({"action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "x"}}, 400, "Validation failure: Pool 'x' was re"),
        ({"action": "REDIRECT_TO_POOL", "redirect_pool_id": POOL_ID}, 400, "Unknown attribute for argument load_b"),
        ({"action": "REJECT", "rules": [A_RULE | {"value": " "}]}, 400, f"{PARSING}Invalid characters in comparison"),
        ({"action": "REJECT", "rules": [A_RULE] * 51}, 409, "Too many rules on L7 policy "),
    ],
)  # fmt: skip
async def test_trees_that_are_refused(api: Api, policy: dict[str, Any], status: int, words: str) -> None:
    listener = {"protocol": "HTTP", "protocol_port": 80, "l7policies": [policy]}
    body = {"loadbalancer": {"vip_subnet_id": api.subnet_id(), "name": "refused", "listeners": [listener]}}
    assert (await api.refuse("POST", "/loadbalancers", body, status=status)).startswith(words)
    assert (await api.get("/loadbalancers?name=refused"))["loadbalancers"] == []


async def test_a_listener_with_its_policies(api: Api) -> None:
    policies = [{"action": "REJECT", "rules": [A_RULE]}, {"action": "REDIRECT_TO_URL", "redirect_url": URL}]
    listener = await api.create_listener(l7policies=policies)
    assert len(listener["l7policies"]) == 2
    balancer = (await api.get(f"/loadbalancers/{listener['loadbalancers'][0]['id']}"))["loadbalancer"]
    first = (await api.get(f"/l7policies/{listener['l7policies'][0]['id']}"))["l7policy"]
    assert balancer["generation"] == listener["generation"] == first["generation"] == 2
    assert len(first["rules"]) == 1
