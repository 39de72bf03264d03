"""Requests have names, and are counted by what they do."""

from prometheus_client import generate_latest

from statera.base.errand import new_request_id
from statera.base.metrics import REGISTRY
from tests.contract.client import Api

HEADER = "x-openstack-request-id"


async def test_a_caller_may_name_its_request(api: Api) -> None:
    mine = new_request_id()
    assert (await api.ask("GET", "/pools", headers={HEADER: mine})).headers[HEADER] == mine
    for odd in ("req-1", "x" * 5000, f"{mine}; x"):
        got = (await api.ask("GET", "/pools", headers={HEADER: odd})).headers[HEADER]
        assert got != odd
        assert got.startswith("req-")


async def test_the_history_names_the_request(api: Api) -> None:
    balancer = await api.create_balancer()
    mine = new_request_id()
    body = {"loadbalancer": {"name": "renamed"}}
    await api.ask("PUT", f"/loadbalancers/{balancer['id']}", body, headers={HEADER: mine})
    events = (await api.get(f"/loadbalancers/{balancer['id']}/events"))["events"]
    assert events[0]["request_id"] == mine
    assert events[-1]["request_id"].startswith("req-")
    assert events[-1]["request_id"] != mine


def count(operation: str, status: int) -> float:
    found = REGISTRY.get_sample_value("statera_api_requests_total", {"operation": operation, "status": str(status)})
    return found or 0.0


async def test_requests_are_counted_by_operation(api: Api) -> None:
    before = [count("GET /pools/{pool_id}", 404), count("none", 404), count("GET /pools", 200)]
    await api.ask("GET", "/pools/00000000-0000-4000-8000-000000000000")
    await api.ask("GET", "/no/such/path/secret-text")
    await api.ask("GET", "/pools")
    after = [count("GET /pools/{pool_id}", 404), count("none", 404), count("GET /pools", 200)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]
    assert b"secret-text" not in generate_latest(REGISTRY)
