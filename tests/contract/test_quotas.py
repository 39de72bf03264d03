"""Quotas over the API (rules.md section 21): records, defaults, both spellings; enforced under parallel creates."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from statera.base.ids import new_id
from tests.contract.client import Api
from tests.contract.roles import Roles, open_roles
from tests.contract.tables import list_fields, read_json

RESOURCES: list[str] = read_json("enums")["quota_resources"]
LEAST, MOST = read_json("enums")["limits"]["quota"]
FIELDS = {row["field"] for row in list_fields("quota")}
OLD = {"load_balancer": "loadbalancer", "health_monitor": "healthmonitor"}


async def put(api: Api, project: str, **values: Any) -> dict[str, Any]:
    answer = await api.ask("PUT", f"/quotas/{project}", {"quota": values})
    assert answer.status_code == 202, answer.text
    return dict(answer.json()["quota"])


async def test_defaults_hold_where_nothing_is_set(open_api) -> None:
    api = open_api(quotas={"loadbalancer": 5, "l7rule": 0})
    for path in (f"/quotas/{new_id()}", "/quotas/defaults", f"/quotas/{new_id()}/default"):
        shown = (await api.get(path))["quota"]
        assert shown.keys() == FIELDS
        assert (shown["loadbalancer"], shown["load_balancer"], shown["l7rule"], shown["pool"]) == (5, 5, 0, -1)


@pytest.mark.parametrize("resource", RESOURCES)
async def test_a_limit_is_set_shown_and_reset(open_api, resource: str) -> None:
    api, project = open_api(quotas={resource: 9}), new_id()
    shown = await put(api, project, **{resource: 3})
    assert shown == (await api.get(f"/quotas/{project}"))["quota"]
    assert {name: shown[name] for name in RESOURCES} == dict.fromkeys(RESOURCES, -1) | {resource: 3}
    assert all(shown[old] == shown[name] for old, name in OLD.items())
    assert (shown["project_id"], shown["tenant_id"]) == (project, project)
    (listed,) = (await api.get(f"/quotas?project_id={project}"))["quotas"]
    assert {name: listed[name] for name in RESOURCES} == dict.fromkeys(RESOURCES) | {resource: 3}
    assert (await put(api, project))[resource] == 3
    assert (await put(api, project, **{resource: None}))[resource] == 9
    await put(api, project, **{resource: 4})
    gone = await api.ask("DELETE", f"/quotas/{project}")
    assert (gone.status_code, gone.content) == (202, b"")
    assert (await api.get(f"/quotas/{project}"))["quota"][resource] == 9
    assert await api.refuse("DELETE", f"/quotas/{project}", status=404) == f"Quotas {project} not found."


@pytest.mark.parametrize(("old", "name"), OLD.items())
async def test_older_spellings(api: Api, old: str, name: str) -> None:
    assert (await put(api, new_id(), **{old: 2}))[name] == 2
    assert (await put(api, new_id(), **{old: 2, name: 3}))[name] == 3


@pytest.mark.parametrize("resource", [*RESOURCES, *OLD])
async def test_bounds(api: Api, resource: str) -> None:
    for value, why in ((LEAST - 1, "greater or equal to -1"), (MOST + 1, f"lower or equal to {MOST}")):
        sentence = await api.refuse("PUT", f"/quotas/{new_id()}", {"quota": {resource: value}}, status=400)
        assert sentence == f"Invalid input for field/attribute {resource}. Value: '{value}'. Value should be {why}"
    assert (await put(api, new_id(), **{resource: MOST}))[resource] == MOST


async def test_lists(api: Api) -> None:
    projects = sorted(new_id() for _ in range(3))
    for number, project in enumerate(projects):
        await put(api, project, listener=700 + number % 2, pool=number)
    listed = await api.get("/quotas?listener=700&sort=project_id:desc")
    assert [one["project_id"] for one in listed["quotas"]] == [projects[2], projects[0]]
    assert listed.keys() == {"quotas", "quotas_links"}
    page = await api.get("/quotas?limit=1&listener=700&fields=pool")
    assert (page["quotas"][0]["project_id"], page["quotas"][0].keys()) == (projects[0], FIELDS)
    (link,) = page["quotas_links"]
    following = await api.get("/" + link["href"].removeprefix("http://api.test"))
    assert [one["project_id"] for one in following["quotas"]] == [projects[2]]
    for wrong in ("tags=x", "colour=1"):
        await api.refuse("GET", f"/quotas?{wrong}", status=400)


@pytest.mark.parametrize("project", ["x" * 37, "a%00b", "a%0Ab"])
async def test_what_is_no_project(api: Api, project: str) -> None:
    assert (await api.get(f"/quotas/{project}"))["quota"]["pool"] == -1
    await api.refuse("PUT", f"/quotas/{project}", {"quota": {"pool": 1}}, status=400)
    await api.refuse("DELETE", f"/quotas/{project}", status=404)


async def test_nobody_has_a_quota_without_identity(open_api) -> None:
    api = open_api(quotas={"loadbalancer": 0, "pool": 0})
    balancer = await api.create_balancer()
    await api.create_pool(loadbalancer_id=balancer["id"])


# Enforced


@pytest.fixture
def limited(open_api, tmp_path: Path) -> Roles:
    """An API that knows its users, with projects of their own for each test."""
    return open_roles(open_api, tmp_path)


async def limit(roles: Roles, **values: int) -> None:
    answer = await roles.ask("admin", "PUT", f"/quotas/{roles.project}", {"quota": values})
    assert answer.status_code == 202, answer.text


async def create(roles: Roles, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await roles.ask("member", "POST", path, body)
    assert answer.status_code == 201, answer.text
    ((_root, made),) = answer.json().items()
    return dict(made)


async def count(roles: Roles, requests: list[tuple[str, dict[str, Any]]]) -> Counter[str]:
    """Send all at once; count the answers by their sentence."""
    answers = await asyncio.gather(*(roles.ask("member", "POST", path, body) for path, body in requests))
    assert {answer.status_code for answer in answers} <= {201, 403}
    return Counter(answer.json().get("faultstring", "") for answer in answers)


def balancer_body(roles: Roles, **values: Any) -> dict[str, Any]:
    return {"loadbalancer": {"vip_subnet_id": roles.api.subnet_id("back4")} | values}


async def test_parallel_load_balancers(limited: Roles) -> None:
    await limit(limited, loadbalancer=4)
    requests = [("/loadbalancers", balancer_body(limited)) for _ in range(20)]
    met = "Quota has been met for resources: Load Balancer"
    assert await count(limited, requests) == {"": 4, met: 16}
    listed = await limited.ask("member", "GET", "/loadbalancers")
    assert len(listed.json()["loadbalancers"]) == 4


async def test_parallel_children_of_every_kind(limited: Roles) -> None:
    await limit(limited, listener=3, pool=9, member=5, healthmonitor=2, l7policy=3, l7rule=4)
    balancers = [await create(limited, "/loadbalancers", balancer_body(limited)) for _ in range(2)]
    ids = [balancer["id"] for balancer in balancers]
    listeners = [
        ("/listeners", {"listener": {"loadbalancer_id": ids[n % 2], "protocol": "HTTP", "protocol_port": 80 + n}})
        for n in range(8)
    ]
    assert await count(limited, listeners) == {"": 3, "Quota has been met for resources: Listener": 5}
    pool = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    pools = [("/pools", {"pool": pool | {"loadbalancer_id": ids[n % 2]}}) for n in range(12)]
    assert await count(limited, pools) == {"": 9, "Quota has been met for resources: Pool": 3}
    pool_ids = [one["id"] for one in (await limited.ask("member", "GET", "/pools")).json()["pools"]]
    members = [
        (f"/pools/{pool_ids[n % 3]}/members", {"member": {"address": f"10.7.9.{n}", "protocol_port": 80}})
        for n in range(9)
    ]
    assert await count(limited, members) == {"": 5, "Quota has been met for resources: Member": 4}
    check = {"type": "TCP", "delay": 5, "timeout": 4, "max_retries": 3}
    monitors = [("/healthmonitors", {"healthmonitor": check | {"pool_id": one}}) for one in pool_ids[:6]]
    assert await count(limited, monitors) == {"": 2, "Quota has been met for resources: Health Monitor": 4}
    listener_ids = [one["id"] for one in (await limited.ask("member", "GET", "/listeners")).json()["listeners"]]
    policies = [
        ("/l7policies", {"l7policy": {"listener_id": listener_ids[n % 3], "action": "REJECT"}}) for n in range(6)
    ]
    assert await count(limited, policies) == {"": 3, "Quota has been met for resources: L7 Policy": 3}
    policy_ids = [one["id"] for one in (await limited.ask("member", "GET", "/l7policies")).json()["l7policies"]]
    rule = {"type": "PATH", "compare_type": "EQUAL_TO"}
    rules = [(f"/l7policies/{policy_ids[n % 3]}/rules", {"rule": rule | {"value": f"/{n}"}}) for n in range(7)]
    assert await count(limited, rules) == {"": 4, "Quota has been met for resources: L7 Rule": 3}


def full_tree(roles: Roles) -> dict[str, Any]:
    members = [{"address": f"10.7.8.{n}", "protocol_port": 80} for n in range(3)]
    check = {"type": "TCP", "delay": 5, "timeout": 4, "max_retries": 3}
    pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members, "healthmonitor": check}
    rules = [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/x"}] * 2
    policies = [{"action": "REJECT", "rules": rules}]
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool, "l7policies": policies}
    return balancer_body(roles, listeners=[listener])


TREE = {"listener": 1, "pool": 1, "member": 3, "healthmonitor": 1, "l7policy": 1, "l7rule": 2}


@pytest.mark.parametrize("resource", TREE)
async def test_one_call_counts_all_its_children(limited: Roles, resource: str) -> None:
    await limit(limited, **{resource: TREE[resource] - 1})
    answer = await limited.ask("member", "POST", "/loadbalancers", full_tree(limited))
    assert answer.status_code == 403
    word = {"healthmonitor": "Health Monitor", "l7policy": "L7 Policy", "l7rule": "L7 Rule"}.get(resource)
    assert answer.json()["faultstring"] == f"Quota has been met for resources: {word or resource.title()}"
    # Nothing is left of it, not even its address.
    assert (await limited.ask("member", "GET", "/loadbalancers")).json()["loadbalancers"] == []
    await limit(limited, **{resource: TREE[resource]})
    assert (await limited.ask("member", "POST", "/loadbalancers", full_tree(limited))).status_code == 201


async def test_a_whole_member_set_counts_what_it_grows_by(limited: Roles) -> None:
    await limit(limited, member=3)
    balancer = await create(limited, "/loadbalancers", balancer_body(limited))
    pool = await create(
        limited,
        "/pools",
        {"pool": {"loadbalancer_id": balancer["id"], "protocol": "TCP", "lb_algorithm": "SOURCE_IP"}},
    )
    path = f"/pools/{pool['id']}/members"

    async def set_members(*numbers: int, more: str = "") -> int:
        members = [{"address": f"10.7.6.{n}", "protocol_port": 80} for n in numbers]
        return (await limited.ask("member", "PUT", f"{path}{more}", {"members": members})).status_code

    assert await set_members(1, 2, 3) == 202
    assert await set_members(1, 2, 3, 4) == 403
    assert await set_members(4, more="?additive_only=true") == 403
    assert await set_members(4, 5, 6) == 202
    await limited.api.settle()
    assert await set_members(4, 5) == 202
    # What goes counts until it is gone.
    assert await set_members(4, 5, 7) == 403
    await limited.api.settle()
    assert await set_members(4, 5, 7) == 202


async def test_the_record_appears_with_the_first_object(limited: Roles) -> None:
    def listed(answer: Any) -> list[str]:
        return [one["project_id"] for one in answer.json()["quotas"]]

    assert listed(await limited.ask("member", "GET", "/quotas")) == []
    await create(limited, "/loadbalancers", balancer_body(limited))
    assert listed(await limited.ask("member", "GET", "/quotas")) == [limited.project]
    assert (await limited.ask("member", "GET", f"/quotas?project_id={limited.other}")).status_code == 403
    assert limited.project in listed(await limited.ask("admin", "GET", "/quotas"))
