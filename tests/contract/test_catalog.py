"""Flavors, availability zones, their profiles and the capabilities behind them (rules.md section 24)."""

import asyncio
import json
from typing import Any

import pytest

from statera.base.ids import new_id
from statera.store.trees import load_tree
from tests.contract.client import Api
from tests.contract.tables import list_fields, read_json

NIL = "00000000-0000-0000-0000-000000000000"
PATHS = {
    "flavor": "flavors",
    "flavorprofile": "flavorprofiles",
    "availability_zone": "availabilityzones",
    "availability_zone_profile": "availabilityzoneprofiles",
}
PLURALS = {"availability_zone": "availability_zones", "availability_zone_profile": "availability_zone_profiles"}
LINKS = {"flavorprofile": "flavorprofile_links", "availability_zone_profile": "availability_zone_profile_links"}
WORDS = {
    "flavor": "Flavor",
    "flavorprofile": "Flavor Profile",
    "availability_zone": "Availability Zone",
    "availability_zone_profile": "Availability Zone Profile",
}
DATA = {"flavorprofile": "flavor_data", "availability_zone_profile": "availability_zone_data"}
PROFILES = {"flavor": "flavorprofile", "availability_zone": "availability_zone_profile"}


async def values_of(api: Api, root: str) -> dict[str, Any]:
    """Return a valid object with no field at its default."""
    if root in DATA:
        return {"name": "n", "provider_name": "octavia", DATA[root]: "{}"}
    profile = await make(api, PROFILES[root])
    link = next(row["field"] for row in list_fields(root) if row["field"].endswith("_profile_id"))
    return {"name": new_id(), "description": "d", "enabled": False, link: profile["id"]}


async def make(api: Api, root: str, **values: Any) -> dict[str, Any]:
    answer = await api.ask("POST", f"/{PATHS[root]}", {root: await values_of(api, root) | values})
    assert answer.status_code == 201, answer.text
    return dict(answer.json()[root])


def path_of(root: str, made: dict[str, Any]) -> str:
    return f"/{PATHS[root]}/{made['name' if root == 'availability_zone' else 'id']}"


async def make_flavor(api: Api, **data: Any) -> dict[str, Any]:
    profile = await make(api, "flavorprofile", provider_name="amphora", flavor_data=json.dumps(data))
    return await make(api, "flavor", enabled=True, flavor_profile_id=profile["id"])


@pytest.mark.parametrize("root", PATHS)
async def test_a_whole_life(api: Api, root: str) -> None:
    made = await make(api, root)
    path, values = path_of(root, made), await values_of(api, root)
    assert made.keys() == {row["field"] for row in list_fields(root) if row["in_response"] == "yes"}
    assert (await api.get(path)) == {root: made}
    key = "name" if root == "availability_zone" else "id"
    assert (await api.get(f"{path}?fields={key}&fields=nothing")) == {root: {key: made[key]}}
    for row in list_fields(root):
        if row["in_update"] == "yes":
            answer = await api.ask("PUT", path, {root: {row["field"]: values[row["field"]]}})
            assert answer.status_code == 200, answer.text
            assert answer.json()[root][row["field"]] == values[row["field"]]
    assert (await api.ask("PUT", path, {root: {}})).json() == await api.get(path)
    gone = await api.ask("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    for method, body in (("GET", None), ("PUT", {root: {}}), ("DELETE", None)):
        assert await api.refuse(method, path, body, status=404) == f"{WORDS[root]} {made[key]} not found."


@pytest.mark.parametrize("root", PATHS)
@pytest.mark.parametrize("key", [NIL, "not-an-id", "a%00b"])
async def test_what_is_not_there(api: Api, root: str, key: str) -> None:
    for method, body in (("GET", None), ("PUT", {root: {}}), ("DELETE", None)):
        told = await api.refuse(method, f"/{PATHS[root]}/{key}", body, status=404)
        assert told == f"{WORDS[root]} {key.replace('%00', chr(0))} not found."


@pytest.mark.parametrize("root", PATHS)
async def test_lists(api: Api, root: str) -> None:
    mark = new_id()
    marked = {"name": mark} if root in DATA else {"description": mark}
    made = [await make(api, root, **marked) for _ in range(3)]
    (field,) = marked
    first = await api.get(f"/{PATHS[root]}?{field}={mark}&limit=2")
    plural, links = PLURALS.get(root, f"{root}s"), LINKS.get(root, f"{PLURALS.get(root, f'{root}s')}_links")
    assert first.keys() == {plural, links}
    assert first[plural] == made[:2]
    following = await api.get("/" + first[links][0]["href"].removeprefix("http://api.test"))
    assert following[plural] == made[2:]
    for row in list_fields(root):
        if row["in_response"] == "yes":
            found = await api.get(f"/{PATHS[root]}", params={row["field"]: str(made[0][row["field"]]), field: mark}
                                  if row["field"] != field else {field: mark})  # fmt: skip
            assert made[0] in found[plural]
            await api.get(f"/{PATHS[root]}?sort={row['field']}:desc")
    for wrong in ("tags=x", "project_id=x", "colour=x", "marker=not-there"):
        await api.refuse("GET", f"/{PATHS[root]}?{wrong}", status=400)


NULLS = [
    (row["resource"], row["field"], row["null_on_update_means"])
    for root in PATHS
    for row in list_fields(root)
    if row["in_update"] == "yes"
]


@pytest.mark.parametrize(("root", "field", "meaning"), NULLS)
async def test_null_on_update(api: Api, root: str, field: str, meaning: str) -> None:
    made = await make(api, root)
    if meaning == '""':
        answer = await api.ask("PUT", path_of(root, made), {root: {field: None}})
        assert answer.json()[root][field] == ""
    else:
        sentence = await api.refuse("PUT", path_of(root, made), {root: {field: None}}, status=400)
        assert sentence == f"None is not a valid option for {field}"


LENGTHS = [
    (row["resource"], row["field"], int(row["constraints"].removeprefix("len<=")))
    for root in PATHS
    for row in list_fields(root)
    if row["constraints"].startswith("len<=")
]


@pytest.mark.parametrize(("root", "field", "most"), LENGTHS)
async def test_lengths(api: Api, root: str, field: str, most: int) -> None:
    body = {root: await values_of(api, root) | {field: "x" * (most + 1)}}
    sentence = await api.refuse("POST", f"/{PATHS[root]}", body, status=400)
    assert sentence.startswith(f"Invalid input for field/attribute {field}. Value: 'xxx")
    assert sentence.endswith(f"Value should have a maximum character requirement of {most}")


@pytest.mark.parametrize("root", PROFILES)
async def test_names_are_unique(api: Api, root: str) -> None:
    made = await make(api, root)
    body = {root: await values_of(api, root) | {"name": made["name"]}}
    sentence = await api.refuse("POST", f"/{PATHS[root]}", body, status=409)
    assert sentence == f"A {WORDS[root].lower()} of {made['name']} already exists."
    answers = await asyncio.gather(
        *(api.ask("POST", f"/{PATHS[root]}", {root: body[root] | {"name": "same"}}) for _ in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    if root == "flavor":
        other = await make(api, root)
        await api.refuse("PUT", path_of(root, other), {root: {"name": made["name"]}}, status=409)


@pytest.mark.parametrize("name", ["", NIL])
async def test_names_that_no_zone_has(api: Api, name: str) -> None:
    body = {"availability_zone": await values_of(api, "availability_zone") | {"name": name}}
    assert (await api.ask("POST", "/availabilityzones", body)).status_code in (400, 409)


@pytest.mark.parametrize("root", PROFILES)
async def test_unknown_profiles(api: Api, root: str) -> None:
    values = await values_of(api, root)
    field = next(name for name in values if name.endswith("_profile_id"))
    for unknown in (NIL, new_id()):
        sentence = await api.refuse("POST", f"/{PATHS[root]}", {root: values | {field: unknown}}, status=400)
        assert sentence == f"Validation failure: Invalid {field}."


@pytest.mark.parametrize("root", PROFILES)
async def test_profiles_in_use(api: Api, root: str) -> None:
    profile_root = PROFILES[root]
    made = await make(api, root)
    profile_id = next(value for name, value in made.items() if name.endswith("_profile_id"))
    path, data = f"/{PATHS[profile_root]}/{profile_id}", DATA[profile_root]
    word = {"flavor": "Flavor profile"}.get(root, WORDS[profile_root])
    in_use = f"{word} {profile_id} is in use and cannot be modified."
    for values in ({"provider_name": "amphora"}, {data: "{ }"}):
        assert await api.refuse("PUT", path, {profile_root: values}, status=409) == in_use
    assert await api.refuse("DELETE", path, status=409) == in_use
    # Its name may change, and what stays as it is is no change.
    assert (await api.ask("PUT", path, {profile_root: {"name": "other", data: "{}"}})).status_code == 200
    assert (await api.ask("DELETE", path_of(root, made))).status_code == 204
    assert (await api.ask("PUT", path, {profile_root: {"provider_name": "amphora"}})).status_code == 200
    assert (await api.ask("DELETE", path)).status_code == 204


BAD_DATA = [
    ("{", 400), ("", 400), ("[]", 400), ("null", 400), ('"x"', 400), ("[" * 2000, 400), ('{"a": 1}', 501),
    ('{"loadbalancer_topology": "TRIPLE", "compute_zone": 5}', 501), ('{"loadbalancer_topology": null}', 501),
    ('{"compute_zone": ""}', 501), ('{"compute_flavor": "big"}', 501),
]  # fmt: skip


@pytest.mark.parametrize("root", DATA)
@pytest.mark.parametrize(("text", "status"), BAD_DATA)
async def test_data_that_no_provider_takes(api: Api, root: str, text: str, status: int) -> None:
    field, path = DATA[root], path_of(root, await make(api, root))
    for method, where, values in (("PUT", path, {}), ("POST", f"/{PATHS[root]}", await values_of(api, root))):
        sentence = await api.refuse(method, where, {root: values | {field: text}}, status=status)
        if status == 400:
            assert sentence == f"{text} is not a valid option for {field}"
        else:
            assert sentence.startswith(f"Provider 'amphora' does not support a requested option: {field}: ")


@pytest.mark.parametrize("root", DATA)
async def test_profiles_of_unknown_providers(api: Api, root: str) -> None:
    body = {root: await values_of(api, root) | {"provider_name": "f5"}}
    assert await api.refuse("POST", f"/{PATHS[root]}", body, status=400) == "Provider 'f5' is not enabled."


@pytest.mark.parametrize("provider", ["amphora", "octavia"])
async def test_capabilities(api: Api, provider: str) -> None:
    for kind, name in (("flavor", "loadbalancer_topology"), ("availability_zone", "compute_zone")):
        path, root = f"/providers/{provider}/{kind}_capabilities", f"{kind}_capabilities"
        listed = (await api.get(path))[root]
        assert name in [one["name"] for one in listed]
        assert {one["name"] for one in listed} <= read_json("enums")[f"{kind}_keys_amphora_provider"].keys()
        assert (await api.get(f"{path}?name={name}&fields=name"))[root] == [{"name": name}]
        assert (await api.get(f"{path}?description=other"))[root] == []
        await api.refuse("GET", f"{path}?colour=x", status=400)
        sentence = await api.refuse("GET", f"/providers/f5/{kind}_capabilities", status=400)
        assert sentence == "Provider 'f5' is not enabled."


# Load balancers


async def test_a_load_balancer_with_a_flavor(api: Api) -> None:
    flavor = await make_flavor(api, loadbalancer_topology="SINGLE")
    made = await api.create_balancer(flavor_id=flavor["id"])
    assert (made["flavor_id"], made["provider"]) == (flavor["id"], "amphora")
    listed = await api.get(f"/loadbalancers?flavor_id={flavor['id']}")
    assert [one["id"] for one in listed["loadbalancers"]] == [made["id"]]
    path, in_use = f"/flavors/{flavor['id']}", f"Flavor {flavor['id']} is in use and cannot be modified."
    assert await api.refuse("DELETE", path, status=409) == in_use
    assert (await api.ask("PUT", path, {"flavor": {"enabled": False}})).status_code == 200
    body = {"loadbalancer": {"vip_subnet_id": api.subnet_id(), "flavor_id": flavor["id"]}}
    disabled = f"The selected flavor is not allowed in this deployment: {flavor['id']}"
    assert await api.refuse("POST", "/loadbalancers", body, status=400) == disabled
    await api.ask("DELETE", f"/loadbalancers/{made['id']}")
    assert await api.refuse("DELETE", path, status=409) == in_use
    await api.settle()
    assert (await api.ask("DELETE", path)).status_code == 204


async def test_a_load_balancer_in_a_zone(api: Api) -> None:
    zone = await make(api, "availability_zone", enabled=True)
    made = await api.create_balancer(availability_zone=zone["name"])
    assert (await api.get(f"/loadbalancers/{made['id']}"))["loadbalancer"]["availability_zone"] == zone["name"]
    path = f"/availabilityzones/{zone['name']}"
    in_use = f"Availability Zone {zone['name']} is in use and cannot be modified."
    assert await api.refuse("DELETE", path, status=409) == in_use
    await api.ask("PUT", path, {"availability_zone": {"enabled": False}})
    body = {"loadbalancer": {"vip_subnet_id": api.subnet_id(), "availability_zone": zone["name"]}}
    disabled = f"The selected availability_zone is not allowed in this deployment: {zone['name']}"
    assert await api.refuse("POST", "/loadbalancers", body, status=400) == disabled


async def test_a_compute_zone(open_api) -> None:
    """Only a zone that some host is in can be asked for; without hosts of one's own it is the only host's."""
    host = {"name": "one", "url": "https://127.0.0.1:1", "zone": "east"}
    api = open_api(compute={"hosts": [host, host | {"name": "two", "zone": "west"}]})
    for here, name, status in (
        (api, "west", 201), (api, "north", 501), (open_api(), "east", 501),
        (open_api(agent={"zone": "east"}), "east", 201), (open_api(compute={"driver": "noop"}), "any", 201),
    ):  # fmt: skip
        data = json.dumps({"compute_zone": name})
        profile = await make(api, "availability_zone_profile", availability_zone_data=data)
        zone = await make(api, "availability_zone", enabled=True, availability_zone_profile_id=profile["id"])
        body = {"loadbalancer": {"vip_subnet_id": api.subnet_id("back4"), "availability_zone": zone["name"]}}
        answer = await here.ask("POST", "/loadbalancers", body)
        assert answer.status_code == status, answer.text
        if status == 501:
            wanted = f"Provider 'amphora' does not support a requested option: compute_zone {name}"
            assert answer.json()["faultstring"] == wanted
        else:
            tree = await load_tree(api.store, answer.json()["loadbalancer"]["id"])
            assert tree is not None
            assert tree.load_balancer.compute_zone == name


async def test_the_provider_of_a_flavor(api: Api) -> None:
    profile = await make(api, "flavorprofile", provider_name="octavia")
    flavor = await make(api, "flavor", enabled=True, flavor_profile_id=profile["id"])
    assert (await api.create_balancer(flavor_id=flavor["id"]))["provider"] == "octavia"
    assert (await api.create_balancer(flavor_id=flavor["id"], provider="octavia"))["provider"] == "octavia"
    body = {"vip_subnet_id": api.subnet_id(), "flavor_id": flavor["id"], "provider": "amphora"}
    sentence = await api.refuse("POST", "/loadbalancers", {"loadbalancer": body}, status=400)
    assert sentence == f"Flavor '{flavor['id']}' is not compatible with provider 'amphora'"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"flavor_id": NIL}, "Validation failure: Invalid flavor_id."),
        ({"availability_zone": "nowhere"}, "Validation failure: Invalid availability zone."),
        ({"flavor_id": NIL, "availability_zone": "nowhere"}, "Validation failure: Invalid flavor_id."),
        ({"availability_zone": "nowhere", "provider": "f5"}, "Validation failure: Invalid availability zone."),
        ({"provider": "f5"}, "Provider 'f5' is not enabled."),
    ],
)
async def test_unknown_choices(api: Api, values: dict[str, Any], sentence: str) -> None:
    body = {"loadbalancer": {"vip_subnet_id": api.subnet_id()} | values}
    assert await api.refuse("POST", "/loadbalancers", body, status=400) == sentence


async def test_a_flavor_says_the_topology(api: Api) -> None:
    flavor = await make_flavor(api, loadbalancer_topology="ACTIVE_STANDBY")
    body = {"loadbalancer": {"vip_subnet_id": api.subnet_id(), "flavor_id": flavor["id"]}}
    made = (await api.ask("POST", "/loadbalancers", body)).json()["loadbalancer"]
    assert made["topology"] == "ACTIVE_STANDBY"


async def test_flavor_and_topology_change_later(api: Api) -> None:
    """Beyond the v2 API: both are an update like any other."""
    pair = await make_flavor(api, loadbalancer_topology="ACTIVE_STANDBY")
    body = {"loadbalancer": {"vip_subnet_id": api.subnet_id()}}
    made = (await api.ask("POST", "/loadbalancers", body)).json()["loadbalancer"]
    assert made["topology"] == "SINGLE"
    path = f"/loadbalancers/{made['id']}"
    changed = (await api.ask("PUT", path, {"loadbalancer": {"flavor_id": pair["id"]}})).json()["loadbalancer"]
    assert (changed["flavor_id"], changed["topology"]) == (pair["id"], "ACTIVE_STANDBY")
    changed = (await api.ask("PUT", path, {"loadbalancer": {"topology": "SINGLE"}})).json()["loadbalancer"]
    assert (changed["flavor_id"], changed["topology"]) == (pair["id"], "SINGLE")
    assert changed["generation"] == 3
    sentence = await api.refuse("PUT", path, {"loadbalancer": {"flavor_id": NIL}}, status=400)
    assert sentence == "Validation failure: Invalid flavor_id."
    await api.refuse("PUT", path, {"loadbalancer": {"topology": "TRIPLE"}}, status=400)


async def test_a_flavor_deleted_while_it_is_chosen(api: Api) -> None:
    """Whoever is first: there is never a load balancer whose flavor is gone."""
    for _ in range(5):
        flavor = await make_flavor(api)
        body = {"loadbalancer": {"vip_subnet_id": api.subnet_id("back4"), "flavor_id": flavor["id"]}}
        deleted, created = await asyncio.gather(
            api.ask("DELETE", f"/flavors/{flavor['id']}"), api.ask("POST", "/loadbalancers", body)
        )
        assert (deleted.status_code, created.status_code) in ((204, 400), (409, 201)), created.text
