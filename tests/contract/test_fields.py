"""Every field of `contract/fields.csv`: shown, bounded, cleared by null as the table says."""

import json
from typing import Any

import pytest

from tests.contract.client import Api
from tests.contract.tables import BUILT, list_fields, read_table

VALUES: dict[str, dict[str, Any]] = {
    "loadbalancer": {"name": "n", "description": "d", "admin_state_up": True, "tags": ["t"]},
    "listener": {
        "name": "n", "description": "d", "tags": ["t"], "connection_limit": 5, "insert_headers": {"X-Real-IP": "true"},
        "timeout_client_data": 1, "timeout_member_connect": 2, "timeout_member_data": 3, "timeout_tcp_inspect": 4,
        "allowed_cidrs": ["10.0.0.0/8"], "protocol": "HTTP", "protocol_port": 80,
    },
    "pool": {"name": "n", "description": "d", "tags": ["t"], "session_persistence": {"type": "SOURCE_IP"}},
    "member": {
        "name": "n", "tags": ["t"], "weight": 5, "backup": True, "monitor_address": "10.7.0.2", "monitor_port": 81,
        "address": "10.7.0.1", "protocol_port": 80,
    },
    "healthmonitor": {
        "name": "n", "tags": ["t"], "type": "HTTP", "delay": 5, "timeout": 4, "max_retries": 3, "max_retries_down": 2,
        "http_method": "HEAD", "url_path": "/x", "expected_codes": "200,204", "http_version": 1.1,
        "domain_name": "a.example",
    },
    "l7policy": {
        "name": "n", "description": "d", "tags": ["t"], "action": "REDIRECT_TO_URL", "position": 1,
        "redirect_url": "https://a.example/b?c=d", "redirect_http_code": 308,
    },
    "rule": {
        "tags": ["t"], "type": "HEADER", "compare_type": "CONTAINS", "key": "X-Colour", "value": "blue", "invert": True,
    },
}  # fmt: skip
"""A valid object of each resource with no field at its default."""

MEANINGS: dict[str, Any] = {
    '""': "", "removes policy": None, "cleared": None, "detaches pool": None, "removes persistence": None,
    "disables HSTS": None, "null (no default applied, unlike listener)": None, "cleared; 400 while a CRL is set": None,
    "deployment default": None, "GET": "GET", "/": "/", "200": "200", "": None,
}  # fmt: skip
REFUSED = ("400", "error (500 upstream)", "NONE, but 400 unless a client CA is present")
DEPENDENT: dict[str, tuple[str, Any]] = {
    "redirect_url": ("miss", "Invalid L7 Policy arguments: redirect_url must not be None"),
    "redirect_http_code": ("set", 302),
    "type": ("refuse", None),
    "compare_type": ("refuse", None),
}
"""The table is silent: null is what the whole object makes of it."""


async def make(api: Api, resource: str) -> tuple[str, str, dict[str, Any]]:
    """Create one object with the values above; return its path, its key and itself."""
    values = VALUES[resource]
    if resource == "loadbalancer":
        made = await api.create_balancer(**values)
        return f"/loadbalancers/{made['id']}", resource, made
    if resource == "listener":
        made = await api.create("listeners", loadbalancer_id=(await api.create_balancer())["id"], **values)
        return f"/listeners/{made['id']}", resource, made
    pool = await api.create_pool(**VALUES["pool"])
    if resource == "pool":
        return f"/pools/{pool['id']}", resource, pool
    if resource == "member":
        made = await api.create(f"pools/{pool['id']}/members", **values)
        return f"/pools/{pool['id']}/members/{made['id']}", resource, made
    if resource == "healthmonitor":
        made = await api.create("healthmonitors", pool_id=pool["id"], **values)
        return f"/healthmonitors/{made['id']}", resource, made
    policy = await api.create_policy(**VALUES["l7policy"])
    if resource == "l7policy":
        return f"/l7policies/{policy['id']}", resource, policy
    path = f"l7policies/{policy['id']}/rules"
    made = await api.create(path, **values)
    return f"/{path}/{made['id']}", resource, made


@pytest.mark.parametrize("resource", BUILT)
async def test_every_field_is_shown(api: Api, resource: str) -> None:
    path, key, _made = await make(api, resource)
    shown = (await api.get(path))[key]
    rows = {row["field"]: row for row in list_fields(resource) if row["in_response"] == "yes"}
    beyond = {"generation", "status_reason", "observed_generation", "expected_body", "topology"}
    assert shown.keys() - beyond == rows.keys() - {"healthmonitor_id"}
    for name, row in rows.items():
        if name in shown and row["nullable_in_response"].startswith("no"):
            assert shown[name] is not None, name


@pytest.mark.parametrize("resource", BUILT)
async def test_what_is_given_is_shown(api: Api, resource: str) -> None:
    path, key, made = await make(api, resource)
    shown = (await api.get(path))[key]
    given = VALUES[resource] | ({} if resource != "pool" else {"session_persistence": shown["session_persistence"]})
    assert {name: made[name] for name in given} == given
    assert {name: shown[name] for name in given} == given


def test_the_values_above_leave_nothing_out() -> None:
    for row in read_table("fields"):
        if row["resource"] in BUILT and row["in_update"] == "yes":
            assert _meaning(row) is not None


def _meaning(row: dict[str, str]) -> tuple[str, Any]:
    """Return what null does on update: `set` to a value, `keep` or `refuse`."""
    text = row["null_on_update_means"]
    if row["field"] in DEPENDENT:
        return DEPENDENT[row["field"]]
    if text in REFUSED:
        return "refuse", None
    if text == "no change":
        return "keep", None
    if text in MEANINGS:
        return "set", MEANINGS[text]
    return "set", json.loads(text.partition(" (")[0])


NULLS = [
    (row["resource"], row["field"], *_meaning(row))
    for row in read_table("fields")
    if row["resource"] in BUILT and row["in_update"] == "yes"
]


@pytest.mark.parametrize(("resource", "field", "what", "value"), NULLS)
async def test_null_on_update(api: Api, resource: str, field: str, what: str, value: Any) -> None:
    path, key, made = await make(api, resource)
    if field == "http_version":  # a domain name needs it
        await api.ask("PUT", path, {key: {"domain_name": None}})
    if field == "key":  # a rule on headers needs it
        await api.ask("PUT", path, {key: {"type": "PATH"}})
    if what == "refuse":
        sentence = await api.refuse("PUT", path, {key: {field: None}}, status=400)
        assert sentence == f"None is not a valid option for {field}"
        return
    if what == "miss":
        assert await api.refuse("PUT", path, {key: {field: None}}, status=400) == value
        return
    answer = await api.ask("PUT", path, {key: {field: None}})
    assert answer.status_code == 200, answer.text
    assert answer.json()[key][field] == (made[field] if what == "keep" else value)


BOUNDS = [
    (row["resource"], row["field"], part.strip())
    for row in read_table("fields")
    if row["resource"] in BUILT and (row["in_create"] != "no")
    for part in row["constraints"].split(";")
    if part.strip().startswith((">=", "<=", "len<=", "UUID", "IPv4"))
]


@pytest.mark.parametrize(("resource", "field", "bound"), BOUNDS)
async def test_bounds_are_checked(api: Api, resource: str, field: str, bound: str) -> None:
    value, why = _just_beyond(bound)
    body = VALUES[resource] | {"loadbalancer_id": "0" * 32, "pool_id": "0" * 32, "listener_id": "0" * 32}
    body = {name: given for name, given in body.items() if name in _created(resource)} | {field: value}
    if resource == "pool":
        body |= {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"} if field != "protocol" else {}
    plural = {
        "member": f"pools/{'0' * 32}/members", "rule": f"l7policies/{'0' * 32}/rules", "l7policy": "l7policies",
    }.get(resource, f"{resource}s")  # fmt: skip
    sentence = await api.refuse("POST", f"/{plural}", {resource: body}, status=400)
    assert sentence == f"Invalid input for field/attribute {field}. Value: '{value}'. {why}"


def _created(resource: str) -> set[str]:
    return {row["field"] for row in list_fields(resource) if row["in_create"] not in ("no", "n/a")}


def _just_beyond(bound: str) -> tuple[Any, str]:
    if bound == "UUID":
        return "not-an-id", "Value should be UUID format"
    if bound.startswith("IPv4"):
        return "10.0.0", "Value should be IPv4 or IPv6 format"
    sign, number = bound.rstrip("0123456789-"), int(bound.lstrip("<>=len"))
    if sign == "len<=":
        return "x" * (number + 1), f"Value should have a maximum character requirement of {number}"
    if sign == ">=":
        return number - 1, f"Value should be greater or equal to {number}"
    return number + 1, f"Value should be lower or equal to {number}"


FILTERS = [
    (row["resource"], row["field"])
    for row in read_table("fields")
    if row["resource"] in BUILT
    and row["in_response"] == "yes"
    and row["type"].partition(" ")[0].partition("<")[0] not in ("array", "object")
    and row["field"] not in ("tenant_id", "project_id")
]


@pytest.mark.parametrize(("resource", "field"), FILTERS)
async def test_every_scalar_filters_and_sorts(api: Api, resource: str, field: str) -> None:
    path, key, _made = await make(api, resource)
    shown = (await api.get(path))[key]
    folder = path.rpartition("/")[0]
    listed = await api.get(folder, params={field: str(shown.get(field)), "id": shown["id"], "sort_key": field} | {})
    found = [one["id"] for one in listed[folder.rpartition("/")[2]]] if field != "id" else [shown["id"]]
    assert found == ([] if shown.get(field) is None else [shown["id"]])
