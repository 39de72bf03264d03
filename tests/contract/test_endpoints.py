"""Every operation of `contract/endpoints.csv` answers, under all of its names."""

import pytest

from tests.contract.client import Api
from tests.contract.tables import read_json, read_table

OPERATIONS = [(row["method"], row["path"]) for row in read_table("endpoints") if row["path"].startswith("/v2/lbaas/")]
"""Those of operators, below `/v2/octavia`, have a page of their own."""
MISSING = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_operation_exists(api: Api, method: str, path: str) -> None:
    """A missing object or body is told in shape A or as the missing parent: the operation was reached."""
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    for name in names:
        path = path.replace(f"{{{name}}}", MISSING)
    for mounted in (path, path.replace("/v2/", "/v2.0/"), path.replace("/v2/lbaas/", "/v2/"), f"{path}.json"):
        answer = await api.ask(method, f"/{mounted}")
        if method == "GET" and (not names or "/quotas/" in path):
            assert answer.status_code == 200
        elif ("/members" in path and method != "PUT") or ("/rules" in path and method in ("GET", "DELETE")):
            below = ("members/", "rules/")
            assert answer.json()["title" if method == "GET" or any(b in path for b in below) else "faultcode"] in (
                "Bad Request", "Client",
            )  # fmt: skip
        else:
            assert answer.status_code in (400, 404, 501)
            assert "faultstring" in answer.json() or answer.json()["title"] == "Bad Request"


async def test_versions(api: Api) -> None:
    wanted = [
        {name: one[name] for name in ("id", "status", "updated")}
        | {"links": [{"href": "http://api.test/v2", "rel": "self"}]}
        for one in read_json("versions")["versions"]
    ]
    assert (await api.get("//"))["versions"] == wanted


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2.0", "/v2/lbaas", "/v2.0/lbaas", "/v2/octavia"])
async def test_roots(api: Api, path: str) -> None:
    assert await api.get(f"/{path}") == "v2"


async def test_providers(api: Api) -> None:
    listed = await api.get("/providers")
    assert listed.keys() == {"providers"}
    assert [one["name"] for one in listed["providers"]] == ["amphora", "octavia"]
    assert (await api.get("/providers?fields=name"))["providers"] == [{"name": "amphora"}, {"name": "octavia"}]


async def test_request_ids_differ(api: Api) -> None:
    ids = {(await api.ask("GET", path)).headers["x-openstack-request-id"] for path in ("/pools", "/nowhere", "//")}
    assert len(ids) == 3
    assert all(one.startswith("req-") for one in ids)


async def test_document_and_page(api: Api) -> None:
    document = await api.get("//openapi.json")
    assert document["openapi"].startswith("3.")
    for method, path in OPERATIONS:
        assert method.lower() in document["paths"][path]
    text = str(document)
    for name in document["components"]["schemas"]:
        assert text.count(f"schemas/{name}'") >= 1
    page = await api.ask("GET", "//docs", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "/v2/lbaas/loadbalancers" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "src=" not in page.text


@pytest.mark.parametrize("path", ["//healthcheck", "//load-balancer/healthcheck"])
async def test_healthcheck(open_api, path: str) -> None:
    assert (await open_api().ask("GET", path)).status_code == 404
    api = open_api(api={"healthcheck_enabled": True})
    plain = await api.ask("GET", path)
    assert (plain.status_code, plain.text, plain.headers["content-type"][:10]) == (200, "OK", "text/plain")
    assert (await api.get(path, headers={"Accept": "application/json"})) == {"detailed": False, "reasons": ["OK"]}
    assert (await api.ask("HEAD", path)).status_code == 204
    assert (await api.ask("POST", path)).status_code == 405


async def test_base_uri_replaces_the_host(open_api) -> None:
    api = open_api(api={"base_uri": "https://lb.example/"})
    assert (await api.get("//"))["versions"][0]["links"][0]["href"] == "https://lb.example/v2"
    await api.create_balancer()
    listed = await api.get("/loadbalancers?limit=1")
    assert listed["loadbalancers_links"][0]["href"].startswith("https://lb.example/v2/lbaas/loadbalancers?")


async def test_networks_for_clients_that_look_names_up(api: Api) -> None:
    assert [one["name"] for one in (await api.get("//network/v2.0/networks"))["networks"]] == ["front", "small", "back"]
    (subnet,) = (await api.get("//network/v2.0/subnets?name=front6"))["subnets"]
    assert (subnet["id"], subnet["cidr"], subnet["ip_version"]) == (api.subnet_id("front6"), "fd09::/64", 6)
    shown = await api.get(f"//network/v2.0/subnets/{subnet['id']}")
    assert shown["subnet"] == subnet
    balancer = await api.create_balancer()
    (port,) = (await api.get(f"//network/v2.0/ports?id={balancer['vip_port_id']}"))["ports"]
    assert port["fixed_ips"] == [{"subnet_id": api.subnet_id(), "ip_address": balancer["vip_address"]}]
    missing = await api.ask("GET", f"//network/v2.0/networks/{MISSING}")
    assert missing.status_code == 404
    assert (await api.get("//network/v2.0/security-groups")) == {"security_groups": []}
    assert (await api.get("//network/v2.0/qos/policies?name=fast")) == {"policies": []}
    assert (await api.ask("GET", f"//network/v2.0/qos/policies/{MISSING}")).status_code == 404
