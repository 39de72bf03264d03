"""Statuses, generations, deletion and what may be edited when (rules.md sections 7, 8, 12)."""

import asyncio
from typing import Any

import pytest

from tests.contract.client import Api

A_RULE = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a"}
CHANGED: dict[str, dict[str, Any]] = {"l7policy": {"name": "x"}}
"""What an update gives; of other resources it may be empty."""


async def make_settled(api: Api) -> dict[str, str]:
    """Create one of each below a load balancer, settled; return their paths."""
    balancer = await api.create_balancer()
    listener = await api.create("listeners", loadbalancer_id=balancer["id"], protocol="HTTP", protocol_port=80)
    pool = await api.create_pool(listener_id=listener["id"])
    member = await api.create(f"pools/{pool['id']}/members", address="10.7.0.1", protocol_port=80)
    monitor = await api.create("healthmonitors", pool_id=pool["id"], type="HTTP", delay=1, timeout=1, max_retries=1)
    policy = await api.create_policy(listener_id=listener["id"])
    rule = await api.create(f"l7policies/{policy['id']}/rules", **A_RULE)
    await api.settle()
    return {
        "loadbalancer": f"/loadbalancers/{balancer['id']}",
        "listener": f"/listeners/{listener['id']}",
        "pool": f"/pools/{pool['id']}",
        "member": f"/pools/{pool['id']}/members/{member['id']}",
        "healthmonitor": f"/healthmonitors/{monitor['id']}",
        "l7policy": f"/l7policies/{policy['id']}",
        "rule": f"/l7policies/{policy['id']}/rules/{rule['id']}",
    }


async def show(api: Api, paths: dict[str, str]) -> dict[str, Any]:
    return {key: (await api.get(path))[key] for key, path in paths.items()}


async def statuses(api: Api, paths: dict[str, str]) -> dict[str, str]:
    return {
        key: shown["provisioning_status"].removeprefix("PENDING_") for key, shown in (await show(api, paths)).items()
    }


UPDATES = [
    ("loadbalancer", {}),
    ("listener", {}),
    ("pool", {"listener": "UPDATE"}),
    ("member", {"listener": "UPDATE", "pool": "UPDATE"}),
    ("healthmonitor", {"listener": "UPDATE", "pool": "UPDATE"}),
    ("l7policy", {"listener": "UPDATE"}),
    ("rule", {"listener": "UPDATE", "l7policy": "UPDATE"}),
]
"""What becomes pending with an object, besides itself and its load balancer (the table of section 7)."""


@pytest.mark.parametrize(("key", "others"), UPDATES)
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
async def test_what_becomes_pending(api: Api, key: str, others: dict[str, str], verb: str) -> None:
    paths = await make_settled(api)
    assert set((await statuses(api, paths)).values()) == {"ACTIVE"}
    if verb == "UPDATE":
        answer = await api.ask("PUT", paths[key], {key: CHANGED.get(key, {})})
        assert (answer.status_code, answer.json()[key]["provisioning_status"]) == (200, "PENDING_UPDATE")
    else:
        answer = await api.ask("DELETE", f"{paths[key]}{'?cascade=yes' if key == 'loadbalancer' else ''}")
        assert (answer.status_code, answer.content) == (204, b"")
    wanted = dict.fromkeys(paths, "ACTIVE") | {"loadbalancer": "UPDATE"} | others | {key: verb}
    assert await statuses(api, paths) == wanted
    await api.settle()
    gone = [key] if verb == "DELETE" else []
    below = {
        "loadbalancer": list(paths), "pool": ["pool", "member", "healthmonitor"],
        "listener": ["listener", "l7policy", "rule"], "l7policy": ["l7policy", "rule"],
    }  # fmt: skip
    gone = below.get(key, gone) if gone else []
    for name, path in paths.items():
        assert (await api.ask("GET", path)).status_code == (404 if name in gone else 200), name


async def test_generations(api: Api) -> None:
    paths = await make_settled(api)
    before = (await show(api, paths))["loadbalancer"]
    assert before["generation"] == before["observed_generation"] == 7
    await api.ask("PUT", paths["member"], {"member": {"weight": 2}})
    shown = await show(api, paths)
    assert shown["loadbalancer"]["generation"] == shown["member"]["generation"] == 8
    assert shown["loadbalancer"]["observed_generation"] == 7
    assert shown["healthmonitor"]["generation"] == 5
    assert shown["member"]["updated_at"] is not None
    await api.ask("PUT", paths["loadbalancer"], {"loadbalancer": {"name": "x"}})
    await api.settle()
    assert (await show(api, paths))["loadbalancer"]["observed_generation"] == 9


async def test_what_was_never_applied_stays_pending_create(api: Api) -> None:
    balancer = await api.create_balancer()
    answer = await api.ask("PUT", f"/loadbalancers/{balancer['id']}", {"loadbalancer": {"name": "x"}})
    assert answer.json()["loadbalancer"]["provisioning_status"] == "PENDING_CREATE"


@pytest.mark.parametrize("key", ["listener", "pool", "member", "healthmonitor", "l7policy", "rule"])
async def test_objects_in_deletion(api: Api, key: str) -> None:
    word = {"healthmonitor": "Health Monitor", "l7policy": "L7 Policy", "rule": "L7 Rule"}.get(key, key.title())
    paths = await make_settled(api)
    for _ in range(2):
        assert (await api.ask("DELETE", paths[key])).status_code == 204
    generation = (await show(api, paths))["loadbalancer"]["generation"]
    assert generation == 8
    sentence = await api.refuse("PUT", paths[key], {key: CHANGED.get(key, {})}, status=409)
    assert sentence == f"{word} {paths[key].rpartition('/')[2]} is immutable and cannot be updated."
    assert (await show(api, paths))["loadbalancer"]["generation"] == generation


async def test_a_load_balancer_in_deletion(api: Api) -> None:
    paths = await make_settled(api)
    balancer_id = paths["loadbalancer"].rpartition("/")[2]
    sentence = await api.refuse("DELETE", paths["loadbalancer"], status=400)
    assert sentence == f"Validation failure: Cannot delete Load Balancer {balancer_id} - it has children"
    assert (await api.ask("DELETE", f"{paths['loadbalancer']}?cascade=T")).status_code == 204
    assert (await api.ask("DELETE", paths["loadbalancer"])).status_code == 204
    sentence = await api.refuse("PUT", paths["loadbalancer"], {"loadbalancer": {}}, status=409)
    assert sentence == f"Invalid state PENDING_DELETE of loadbalancer resource {balancer_id}"
    immutable = f"Load Balancer {balancer_id} is immutable and cannot be updated."
    for key in ("listener", "pool", "member", "healthmonitor", "l7policy", "rule"):
        assert await api.refuse("PUT", paths[key], {key: CHANGED.get(key, {})}, status=409) == immutable
    new = {"loadbalancer_id": balancer_id, "protocol": "TCP", "protocol_port": 9}
    assert await api.refuse("POST", "/listeners", {"listener": new}, status=409) == immutable


async def test_children_in_deletion_do_not_hold_their_load_balancer(api: Api) -> None:
    paths = await make_settled(api)
    for key in ("listener", "pool"):
        assert (await api.ask("DELETE", paths[key])).status_code == 204
    assert (await api.ask("DELETE", paths["loadbalancer"])).status_code == 204


async def test_places_of_objects_in_deletion_are_free(api: Api) -> None:
    paths = await make_settled(api)
    shown = await show(api, paths)
    for key in ("member", "healthmonitor"):
        await api.ask("DELETE", paths[key])
    await api.create(f"pools/{shown['pool']['id']}/members", address="10.7.0.1", protocol_port=80)
    monitor = {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}
    await api.create("healthmonitors", pool_id=shown["pool"]["id"], **monitor)
    await api.ask("DELETE", paths["listener"])
    balancer_id = shown["loadbalancer"]["id"]
    await api.create("listeners", loadbalancer_id=balancer_id, protocol="TCP", protocol_port=80)
    await api.settle()


async def test_a_pool_in_deletion_leaves_its_listener(api: Api) -> None:
    paths = await make_settled(api)
    await api.ask("DELETE", paths["pool"])
    assert (await show(api, paths))["listener"]["default_pool_id"] is None
    listener_id = paths["listener"].rpartition("/")[2]
    fresh = await api.create_pool(listener_id=listener_id)
    assert (await show(api, paths))["listener"]["default_pool_id"] == fresh["id"]
    member = {"member": {"address": "10.7.0.9", "protocol_port": 1}}
    pool_id = paths["pool"].rpartition("/")[2]
    sentence = await api.refuse("POST", f"/pools/{pool_id}/members", member, status=409)
    assert sentence == f"Pool {pool_id} is immutable and cannot be updated."
    await api.settle()


async def test_strict_immutability(open_api) -> None:
    loose, strict = open_api(), open_api(api={"strict_immutable": True})
    paths = await make_settled(loose)
    balancer_id = paths["loadbalancer"].rpartition("/")[2]
    assert (await strict.ask("PUT", paths["member"], {"member": {"weight": 2}})).status_code == 200
    immutable = f"Load Balancer {balancer_id} is immutable and cannot be updated."
    for key in ("listener", "pool", "member", "healthmonitor", "l7policy", "rule"):
        assert await strict.refuse("PUT", paths[key], {key: CHANGED.get(key, {})}, status=409) == immutable
        assert await strict.refuse("DELETE", paths[key], status=409) == immutable
    state = f"Invalid state PENDING_UPDATE of loadbalancer resource {balancer_id}"
    assert await strict.refuse("PUT", paths["loadbalancer"], {"loadbalancer": {}}, status=409) == state
    assert await strict.refuse("DELETE", f"{paths['loadbalancer']}?cascade=1", status=409) == state
    await strict.settle()
    assert (await strict.ask("PUT", paths["loadbalancer"], {"loadbalancer": {}})).status_code == 200
    made = await strict.create_balancer(pools=[{"protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "name": "p"}])
    assert made["pools"][0]["name"] == "p"


async def test_two_hundred_parallel_edits(api: Api) -> None:
    paths = await make_settled(api)
    pool_path = f"{paths['pool']}/members"
    requests = [
        api.ask("POST", pool_path, {"member": {"address": f"10.7.1.{number}", "protocol_port": 80}})
        for number in range(1, 201)
    ]
    answers = await asyncio.gather(*requests)
    assert {answer.status_code for answer in answers} == {201}
    generations = sorted(answer.json()["member"]["generation"] for answer in answers)
    assert generations == list(range(8, 208))
    shown = await show(api, paths)
    assert shown["loadbalancer"]["generation"] == 207
    assert len(shown["pool"]["members"]) == 201


async def test_parallel_duplicates_are_refused_once_each(api: Api) -> None:
    pool = await api.create_pool()
    body = {"member": {"address": "10.7.0.1", "protocol_port": 80}}
    answers = await asyncio.gather(*(api.ask("POST", f"/pools/{pool['id']}/members", body) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19


async def test_status_tree(api: Api) -> None:
    paths = await make_settled(api)
    ids = {key: path.rpartition("/")[2] for key, path in paths.items()}
    for name in ("status", "statuses"):
        tree = (await api.get(f"{paths['loadbalancer']}/{name}"))["statuses"]["loadbalancer"]
        (listener,) = tree["listeners"]
        (pool,) = listener["pools"]
        (member,) = pool["members"]
        monitor = pool["health_monitor"]
        (policy,) = listener["l7policies"]
        (rule,) = policy["rules"]
        found = {"loadbalancer": tree, "listener": listener, "pool": pool, "member": member, "healthmonitor": monitor}
        found |= {"l7policy": policy, "rule": rule}
        assert {key: one["id"] for key, one in found.items()} == ids
        both = {"id", "name", "operating_status", "provisioning_status", "status_reason"}
        assert tree.keys() == both | {"listeners"}
        assert listener.keys() == both | {"pools", "l7policies"}
        assert policy.keys() == both | {"action", "rules"}
        assert rule.keys() == both - {"name"} | {"type"}
        assert pool.keys() == both | {"health_monitor", "members"}
        assert member.keys() == both | {"address", "protocol_port"}
        assert (monitor.keys(), monitor["type"]) == (both | {"type"}, "HTTP")


async def test_history(api: Api) -> None:
    paths = await make_settled(api)
    events = (await api.get(f"{paths['loadbalancer']}/events"))["events"]
    assert [event["generation"] for event in events] == [7, 6, 5, 4, 3, 2, 1]
    assert events[0]["what"].startswith("L7 rule ")
    assert len((await api.get(f"{paths['loadbalancer']}/events?limit=2"))["events"]) == 2


async def test_conflicts(api: Api) -> None:
    paths = await make_settled(api)
    ids = {key: path.rpartition("/")[2] for key, path in paths.items()}
    listener = {"loadbalancer_id": ids["loadbalancer"], "protocol": "TCP", "protocol_port": 80}
    sentence = await api.refuse("POST", "/listeners", {"listener": listener}, status=409)
    taken = "Another Listener on this Load Balancer is already using protocol HTTP and protocol_port 80"
    assert sentence == taken
    member = {"address": "10.7.0.1", "protocol_port": 80}
    sentence = await api.refuse("POST", f"/pools/{ids['pool']}/members", {"member": member}, status=409)
    assert sentence == "Another member on this pool is already using ip 10.7.0.1 on protocol_port 80"
    monitor = {"pool_id": ids["pool"], "type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}
    sentence = await api.refuse("POST", "/healthmonitors", {"healthmonitor": monitor}, status=409)
    assert sentence == "This pool already has a health monitor"
    pool = {"listener_id": ids["listener"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    sentence = await api.refuse("POST", "/pools", {"pool": pool}, status=409)
    assert sentence == "This listener already has a default pool"
