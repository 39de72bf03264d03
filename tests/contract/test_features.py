"""Features that no installed HAProxy has are refused with the version that has them, over the API."""

from typing import Any

import pytest

from tests.contract.test_plans import Planned, api  # noqa: F401 - the fixture of a whole control room in memory

HASHED = {"lb_algorithm": "SOURCE_IP_PORT", "protocol": "TCP"}


async def know_hosts(api: Planned) -> None:  # noqa: F811
    """Have the API's process ask the hosts now, which it otherwise does beside a first request."""
    await api.forecaster._observer.hosts.list_hosts(most_age_s=0)


@pytest.mark.parametrize("version", ["2.4.22", "2.6.12"])
async def test_an_algorithm_that_came_with_a_version(api: Planned, version: str) -> None:  # noqa: F811
    balancer = await api.create_balancer()
    plain = await api.create("pools", loadbalancer_id=balancer["id"], protocol="TCP", lb_algorithm="ROUND_ROBIN")
    api.compute.hosts["one"].engine_versions = {"haproxy": version, "prometheus-exporter": version}
    await know_hosts(api)
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/pools", {"pool": HASHED | {"loadbalancer_id": balancer["id"]}}),
        ("PUT", f"/pools/{plain['id']}", {"pool": {"lb_algorithm": "SOURCE_IP_PORT"}}),
    ]
    for method, path, body in bodies:
        answer = await api.ask(method, path, body)
        if version == "2.6.12":
            assert answer.status_code in (200, 201), answer.text
        else:
            assert answer.status_code == 501
            assert answer.json()["faultstring"] == (
                "Provider 'amphora' does not support a requested option: the algorithm SOURCE_IP_PORT needs HAProxy "
                "2.6 or newer; the newest of all hosts is 2.4.22 on one"
            )


async def test_a_build_without_the_exporter(api: Planned) -> None:  # noqa: F811
    api.compute.hosts["one"].engine_versions = {"haproxy": "2.6.12"}
    await know_hosts(api)
    balancer = await api.create_balancer()
    body = {"loadbalancer_id": balancer["id"], "protocol": "PROMETHEUS", "protocol_port": 9090}
    sentence = await api.refuse("POST", "/listeners", {"listener": body}, status=501)
    assert "needs HAProxy 2.4 or newer that was built with its Prometheus exporter" in sentence
    # Another host could have it: then the object says what is missing where.
    api.compute.hosts["one"].engine_versions = {}
    await know_hosts(api)
    assert (await api.ask("POST", "/listeners", {"listener": body})).status_code == 201
