"""Lists: pages, links, order, fields, filters and tags (rules.md section 3)."""

from typing import Any

import pytest

from tests.contract.client import Api

PROJECT = "p" * 32


async def make_pools(api: Api, count: int) -> tuple[str, list[dict[str, Any]]]:
    """Create pools on a load balancer of their own; return the path that lists just them."""
    balancer = await api.create_balancer()
    pools = [
        await api.create_pool(loadbalancer_id=balancer["id"], name=f"n{number % 3}", description=str(number))
        for number in range(count)
    ]
    return f"/pools?loadbalancer_id={balancer['id']}", pools


def names(listed: dict[str, Any]) -> list[str]:
    return [one["description"] for one in listed["pools"]]


def follow(listed: dict[str, Any], rel: str) -> str:
    href = next((link["href"] for link in listed["pools_links"] if link["rel"] == rel), "")
    return "/" + href.removeprefix("http://api.test") if href else ""


async def test_walking_forward_and_back(api: Api) -> None:
    path, _pools = await make_pools(api, 5)
    first = await api.get(f"{path}&limit=2")
    assert (names(first), follow(first, "previous")) == (["0", "1"], "")
    second = await api.get(follow(first, "next"))
    assert names(second) == ["2", "3"]
    assert [link["rel"] for link in second["pools_links"]] == ["previous", "next"]
    third = await api.get(follow(second, "next"))
    assert (names(third), follow(third, "next")) == (["4"], "")
    assert names(await api.get(follow(third, "previous"))) == ["2", "3"]
    back = await api.get(follow(second, "previous"))
    assert names(back) == ["0", "1"]


async def test_links_keep_the_query(api: Api) -> None:
    path, _pools = await make_pools(api, 4)
    listed = await api.get(f"{path}&limit=1&sort_key=name,description&sort_dir=desc&fields=description&fields=id")
    seen = names(listed)
    while link := follow(listed, "next"):
        listed = await api.get(link)
        assert all(one.keys() == {"description", "id"} for one in listed["pools"])
        seen += names(listed)
    assert seen == ["2", "1", "0", "3"]


@pytest.mark.parametrize("limit", ["0", "-1", "infinite", "999999"])
async def test_without_limit(api: Api, limit: str) -> None:
    path, _pools = await make_pools(api, 3)
    listed = await api.get(f"{path}&limit={limit}")
    assert (len(listed["pools"]), listed["pools_links"]) == (3, [])


async def test_the_deployment_limits_pages(open_api) -> None:
    api = open_api(api={"pagination_max_limit": 2})
    path, _pools = await make_pools(api, 3)
    for limit in ("", "&limit=5"):
        assert len((await api.get(f"{path}{limit}"))["pools"]) == 2


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("sort=description:desc", ["3", "2", "1", "0"]),
        ("sort=name:asc,description:desc", ["3", "0", "1", "2"]),
        ("sort=name&sort=description:desc", ["3", "0", "1", "2"]),
        ("sort_key=name&sort_key=description&sort_dir=desc", ["2", "1", "0", "3"]),
        ("sort_key=admin_state_up", ["0", "1", "2", "3"]),
        ("sort_key=tls_enabled&sort_dir=desc", ["0", "1", "2", "3"]),
    ],
)
async def test_order(api: Api, query: str, order: list[str]) -> None:
    path, pools = await make_pools(api, 4)
    assert names(await api.get(f"{path}&{query}")) == order
    after = next(pool["id"] for pool in pools if pool["description"] == order[1])
    assert names(await api.get(f"{path}&{query}&marker={after}")) == order[2:]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=x", "Supplied pagination limit 'x' is not valid."),
        ("sort=name:up", "Supplied sort direction 'up' is not valid."),
        ("sort=name:asc:x", "Supplied sort key 'name:asc:x' is not valid."),
        ("sort_key=name&sort_dir=up", "Supplied sort direction 'up' is not valid."),
    ],
)
async def test_arguments_that_cannot_be_read(api: Api, query: str, words: str) -> None:
    answer = await api.ask("GET", f"/pools?{query}")
    assert answer.status_code == 400
    assert answer.json() == {"code": 400, "title": "Bad Request", "description": words}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sort=colour", "Supplied sort key 'colour' is not valid."),
        ("marker=nope", "Supplied pagination marker 'nope' is not valid."),
        ("marker=00000000-0000-0000-0000-000000000000", "Supplied pagination marker '00000000-"),
        ("colour=red", "One or more arguments are either duplicate or invalid"),
        ("tenant_id=x", "One or more arguments are either duplicate or invalid"),
        ("listener_id=x", "One or more arguments are either duplicate or invalid"),
        ("members=x", "One or more arguments are either duplicate or invalid"),
        ("name=a&name=b", "One or more arguments are either duplicate or invalid"),
    ],
)
async def test_arguments_that_are_refused(api: Api, query: str, words: str) -> None:
    assert (await api.refuse("GET", f"/pools?{query}", status=400)).startswith(words)


async def test_filters(api: Api) -> None:
    path, pools = await make_pools(api, 4)
    assert names(await api.get(f"{path}&name=n0")) == ["0", "3"]
    assert names(await api.get(f"{path}&name=n0&description=3")) == ["3"]
    assert len(names(await api.get(f"{path}&admin_state_up=YES"))) == 4
    assert names(await api.get(f"{path}&enabled=f")) == []
    assert names(await api.get(f"{path}&admin_state_up=maybe")) == []
    assert names(await api.get(f"{path}&tls_enabled=false&id={pools[1]['id']}")) == ["1"]
    assert names(await api.get(f"{path}&created_at={pools[0]['created_at']}&name=n1")) == ["1"]


async def test_filters_by_relation(api: Api) -> None:
    pool = await api.create_pool()
    monitor = await api.create("healthmonitors", pool_id=pool["id"], type="TCP", delay=1, timeout=1, max_retries=1)
    assert [one["id"] for one in (await api.get(f"/healthmonitors?pool_id={pool['id']}"))["healthmonitors"]] == [
        monitor["id"]
    ]
    (found,) = (await api.get(f"/pools?healthmonitor_id={monitor['id']}"))["pools"]
    assert (found["id"], found["healthmonitor_id"]) == (pool["id"], monitor["id"])
    refused = await api.refuse("GET", f"/healthmonitors?pools={pool['id']}", status=400)
    assert refused == "One or more arguments are either duplicate or invalid"
    balancer = await api.create_balancer(vip_subnet_id=api.subnet_id("front6"))
    upper = balancer["vip_address"].upper()
    assert len((await api.get(f"/loadbalancers?vip_address={upper}"))["loadbalancers"]) == 1


async def test_fields(api: Api) -> None:
    pool = await api.create_pool()
    assert await api.get(f"/pools/{pool['id']}?fields=name&fields=id") == {"pool": {"name": "", "id": pool["id"]}}
    assert await api.get(f"/pools/{pool['id']}?fields=colour") == {"pool": {}}
    assert await api.get(f"/pools/{pool['id']}?fields=name,id") == {"pool": {}}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("tags=a", "ab a"),
        ("tags=a,b", "ab"),
        ("tags=a&tags=b", "ab"),
        ("tags-any=a,b", "ab a b"),
        ("not-tags=a,b", "a b none"),
        ("not-tags-any=a,b", "none"),
        ("tags=a&not-tags=b", "a"),
    ],
)
async def test_tags(api: Api, query: str, found: str) -> None:
    balancer = await api.create_balancer()
    for description, tags in (("ab", ["a", "b", "a"]), ("a", ["a"]), ("b", ["b"]), ("none", [])):
        pool = await api.create_pool(loadbalancer_id=balancer["id"], description=description, tags=tags)
        assert pool["tags"] == list(dict.fromkeys(tags))
    listed = await api.get(f"/pools?loadbalancer_id={balancer['id']}&{query}")
    assert names(listed) == found.split()


async def test_projects(api: Api) -> None:
    balancer = await api.create_balancer(project_id=PROJECT)
    assert (balancer["project_id"], balancer["tenant_id"]) == (PROJECT, PROJECT)
    listed = (await api.get(f"/loadbalancers?project_id={PROJECT}"))["loadbalancers"]
    assert [one["id"] for one in listed] == [balancer["id"]]
    synonym = await api.create_balancer(tenant_id="t" * 32)
    assert synonym["project_id"] == "t" * 32
    ignored = await api.create_pool(loadbalancer_id=balancer["id"], project_id="x" * 32)
    assert ignored["project_id"] == PROJECT
    everything = {one["project_id"] for one in (await api.get("/loadbalancers"))["loadbalancers"]}
    assert {PROJECT, "t" * 32} <= everything
