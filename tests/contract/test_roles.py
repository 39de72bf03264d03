"""The whole matrix of `contract/policies.csv` against the running API: role x operation x own or other project.

Each operation of `contract/endpoints.csv` is asked by every role, from the project that owns its object and from
another one, without and with the roles of old. Whom the contract refuses is refused in its words; everybody else gets
through.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from statera.api.policy import Caller
from statera.base.ids import new_id
from statera.model.enums import AmphoraStatus
from tests.contract.policies import ROLES, TARGETS, evaluate
from tests.contract.roles import NOBODY, Roles, open_roles
from tests.contract.tables import read_table
from tests.contract.test_amphorae import add_amphora

OPERATIONS = [
    (row["method"], row["path"], row["policy_target"])
    for row in read_table("endpoints")
    if row["policy_target"].startswith("os_load-balancer_api:")
]
SHARED = re.compile(r"/v2/lbaas/(flavors|flavorprofiles|availabilityzones|availabilityzoneprofiles|providers)\b")
"""What belongs to no project is judged by the caller's own."""
BODIES_APART = {
    "os_load-balancer_api:loadbalancer:post:vip_sg_ids": ("POST", "/v2/lbaas/loadbalancers"),
    "os_load-balancer_api:loadbalancer:put:vip_sg_ids": ("PUT", "/v2/lbaas/loadbalancers/{loadbalancer_id}"),
}
"""Targets that stand beside another one, for one field in the body."""
REFUSED = "Policy does not allow this request to be performed."
IMPLIED = {"admin": {"member", "reader"}, "member": {"reader"}}

World = dict[str, str]
"""Placeholder in a path, to the id of an object of the project."""


async def make_world(roles: Roles) -> World:
    """Create one object of each kind, all the project's or shared."""

    async def create(path: str, **values: Any) -> str:
        answer = await roles.ask("admin", "POST", f"//v2/lbaas/{path}", make_body(path, values))
        assert answer.status_code == 201, answer.text
        ((_root, made),) = answer.json().items()
        return str(made.get("id") or made["name"])

    world = {"project_id": roles.project, "provider": "amphora"}
    subnet = roles.api.subnet_id("back4")
    balancer = await create("loadbalancers", vip_subnet_id=subnet, project_id=roles.project)
    world["loadbalancer_id"] = balancer
    world["listener_id"] = await create("listeners", loadbalancer_id=balancer, protocol="HTTP", protocol_port=80)
    plain = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    pool = world["pool_id"] = await create("pools", loadbalancer_id=balancer, **plain)
    world["member_id"] = await create(f"pools/{pool}/members", address="10.7.0.1", protocol_port=80)
    check = {"type": "TCP", "delay": 5, "timeout": 4, "max_retries": 3}
    world["healthmonitor_id"] = await create("healthmonitors", pool_id=pool, **check)
    policy = await create("l7policies", listener_id=world["listener_id"], action="REJECT")
    world["l7policy_id"] = policy
    rule = {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"}
    world["l7rule_id"] = await create(f"l7policies/{policy}/rules", **rule)
    for kind, data in (("flavor", "flavor_data"), ("availabilityzone", "availability_zone_data")):
        unused = await create(f"{kind}profiles", name="n", provider_name="amphora", **{data: "{}"})
        used = await create(f"{kind}profiles", name="n", provider_name="amphora", **{data: "{}"})
        link = "flavor_profile_id" if kind == "flavor" else "availability_zone_profile_id"
        offer = await create(f"{kind}s", name=new_id(), **{link: used})
        world |= {"flavor_id": offer, "flavorprofile_id": unused} if kind == "flavor" else {"name": offer, link: unused}
    await roles.ask("admin", "PUT", f"/quotas/{roles.project}", {"quota": {"l7rule": 99999}})
    amphora = await add_amphora(roles.api, balancer, status=AmphoraStatus.ERROR)
    return world | {"amphora_id": amphora.id}


ROOTS = {
    "healthmonitors": "healthmonitor", "l7policies": "l7policy", "rules": "rule", "quotas": "quota",
    "availabilityzones": "availability_zone", "availabilityzoneprofiles": "availability_zone_profile",
}  # fmt: skip


def make_body(path: str, values: Any) -> dict[str, Any]:
    plural = next(part for part in reversed(path.split("/")) if part.isalnum() and "-" not in part and len(part) < 30)
    return {ROOTS.get(plural, plural[:-1]): values}


def list_requests(world: World, roles: Roles) -> Iterator[tuple[str, str, str, Any]]:
    """Give each operation with its target, the path of an object of the project, and a body that says little."""
    for method, template, target in OPERATIONS:
        yield method, template, target, _make_request_body(method, template, world, roles)
    for target, (method, template) in BODIES_APART.items():
        body = _make_request_body(method, template, world, roles)
        yield method, template, target, {"loadbalancer": body["loadbalancer"] | {"vip_sg_ids": []}}


def _make_request_body(method: str, template: str, world: World, roles: Roles) -> Any:
    if method in ("GET", "DELETE") or template.endswith(("/failover", "/config")):
        return None
    if template.endswith("/members") and method == "PUT":
        return {"members": []}
    collection = re.sub(r"/{[a-z0-9_]+}$", "", template)
    if method == "PUT":
        return make_body(collection, {"description": "d"} if "zones" in collection else _rename(collection))
    return make_body(collection, _fresh(collection.rpartition("/")[2], world, roles))


def _rename(collection: str) -> dict[str, Any]:
    if collection.endswith("rules"):
        return {}
    return {"listener": 99999} if collection.endswith("quotas") else {"name": "n"}


def _fresh(plural: str, world: World, roles: Roles) -> dict[str, Any]:
    subnet = roles.api.subnet_id("back4")
    profile = {"name": "n", "provider_name": "amphora"}
    bodies: dict[str, dict[str, Any]] = {
        "loadbalancers": {"vip_subnet_id": subnet, "project_id": roles.project},
        "listeners": {"loadbalancer_id": world["loadbalancer_id"], "protocol": "HTTP", "protocol_port": 81},
        "pools": {"loadbalancer_id": world["loadbalancer_id"], "protocol": "TCP", "lb_algorithm": "SOURCE_IP"},
        "members": {"address": "10.7.0.2", "protocol_port": 80},
        "healthmonitors": {"pool_id": world["pool_id"], "type": "TCP", "delay": 5, "timeout": 4, "max_retries": 3},
        "l7policies": {"listener_id": world["listener_id"], "action": "REJECT"},
        "rules": {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"},
        "flavors": {"name": "n", "flavor_profile_id": world["flavorprofile_id"]},
        "flavorprofiles": profile | {"flavor_data": "{}"},
        "availabilityzones": {
            "name": "n", "availability_zone_profile_id": world["availability_zone_profile_id"],
        },
        "availabilityzoneprofiles": profile | {"availability_zone_data": "{}"},
    }  # fmt: skip
    return bodies[plural]


def is_admitted(role: str, template: str, target: str, roles: Roles, *, other: bool, legacy: bool) -> bool:
    """Say what the contract says."""
    held = frozenset() if role == NOBODY else frozenset({role}) | IMPLIED.get(role, set())
    caller = Caller(name=role, project_id=roles.other if other else roles.project, roles=held)
    project = caller.project_id if SHARED.match(template) else roles.project

    def passes(name: str) -> bool:
        resource = target.split(":")[1]
        full = name.removeprefix("os_load-balancer_api:")
        rule = TARGETS[full if ":" in full else f"{resource}:{full}"]
        return evaluate(rule, caller, project, legacy=legacy)

    if " + " in target:
        return all(passes(name) for name in target.split(" + "))
    return any(passes(name) for name in target.split(" | "))


async def ask(
    roles: Roles, role: str, method: str, template: str, world: World, body: Any, *, other: bool
) -> httpx.Response:
    path = template
    for name, value in world.items():
        path = path.replace(f"{{{name}}}", value)
    if other and method == "GET" and "{" not in template and not SHARED.match(template):
        path += f"?project_id={roles.project}"
    return await roles.ask(role, method, f"/{path}", body, other=other)


def judge(answer: httpx.Response, *, admitted: bool) -> bool:
    if admitted:
        return answer.status_code < 500 and answer.status_code not in (401, 403)
    return answer.status_code == 403 and answer.json() == {
        "faultcode": "Client", "faultstring": REFUSED, "debuginfo": None,
    }  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True], ids=["roles of today", "roles of old as well"])
async def test_every_role_and_operation(open_api, tmp_path: Path, legacy: bool) -> None:
    roles = open_roles(open_api, tmp_path, legacy=legacy)
    world = await make_world(roles)
    wrong: list[str] = []
    asked = 0
    for method, template, target, body in list_requests(world, roles):
        callers = [(role, other) for role in (*ROLES, NOBODY) for other in (False, True)]
        wanted = {
            (role, other): is_admitted(role, template, target, roles, other=other, legacy=legacy)
            for role, other in callers
        }
        # The refused first: whoever is admitted may change what is there.
        for role, other in sorted(callers, key=lambda caller: wanted[caller]):
            here = world
            if method == "DELETE" and wanted[role, other]:
                here = await make_world(roles)
            answer = await ask(roles, role, method, template, here, body, other=other)
            asked += 1
            if not judge(answer, admitted=wanted[role, other]):
                whose = "other" if other else "own"
                wrong.append(f"{role} {method} {template} ({whose}): {answer.status_code} {answer.text[:200]}")
    assert wrong == []
    assert asked == (len(OPERATIONS) + len(BODIES_APART)) * (len(ROLES) + 1) * 2


def test_the_matrix_is_whole() -> None:
    """Every target of the contract is asked for by some operation."""
    walked: set[str] = set()
    for target in (*(target for _method, _path, target in OPERATIONS), *BODIES_APART):
        resource = target.split(":")[1]
        for name in re.split(r" [|+] ", target):
            full = name.removeprefix("os_load-balancer_api:")
            walked.add(full if ":" in full else f"{resource}:{full}")
    assert walked == TARGETS.keys()
