"""A load balancer created in one call with all below it (rules.md section 11), and where its VIPs go (section 10)."""

from typing import Any

import pytest

from tests.contract.client import Api

MISSING = "00000000-0000-0000-0000-000000000000"


def a_pool(name: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"} | values


def a_listener(port: int, **values: Any) -> dict[str, Any]:
    return {"protocol": "HTTP", "protocol_port": port} | values


async def test_everything_in_one_call(api: Api) -> None:
    monitor = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1}
    members = [{"address": f"10.7.0.{number}", "protocol_port": 80, "name": f"m{number}"} for number in range(1, 31)]
    pool = a_pool("shared", members=members, healthmonitor=monitor, session_persistence={"type": "HTTP_COOKIE"})
    made = await api.create_balancer(
        name="full",
        tags=["t"],
        pools=[pool, {"protocol": "TCP", "lb_algorithm": "SOURCE_IP"}],
        listeners=[
            a_listener(80, default_pool={"name": "shared"}, name="one"),
            a_listener(81, default_pool={"name": "shared", "admin_state_up": True}),
            a_listener(82, default_pool=a_pool("own")),
            a_listener(83),
        ],
    )
    assert (made["name"], made["generation"], made["provisioning_status"]) == ("full", 1, "PENDING_CREATE")
    shared, unnamed, own = made["pools"]
    assert (shared["name"], unnamed["name"], own["name"]) == ("shared", "", "own")
    assert [one["default_pool_id"] for one in made["listeners"]] == [shared["id"], shared["id"], own["id"], None]
    assert [one["id"] for one in shared["listeners"]] == [one["id"] for one in made["listeners"][:2]]
    assert [one["name"] for one in shared["members"]] == [f"m{number}" for number in range(1, 31)]
    assert shared["members"][0]["operating_status"] == "OFFLINE"
    assert shared["healthmonitor"]["type"] == "HTTP"
    assert own["healthmonitor"] is None
    for one in (*made["listeners"], *made["pools"], shared["healthmonitor"]):
        assert one["provisioning_status"] == "PENDING_CREATE"
        assert one["updated_at"] is None
        assert one["generation"] == 1
        assert "loadbalancers" not in one
    assert "pools" not in shared["healthmonitor"]
    assert "healthmonitor_id" not in shared
    shown = (await api.get(f"/loadbalancers/{made['id']}"))["loadbalancer"]
    assert shown["listeners"] == [{"id": one["id"]} for one in made["listeners"]]
    assert shown["pools"] == [{"id": one["id"]} for one in made["pools"]]
    listed = await api.get(f"/pools/{shared['id']}/members")
    assert [one["name"] for one in listed["members"]] == [f"m{number}" for number in range(1, 31)]


async def test_the_answer_is_expanded_without_children_too(api: Api) -> None:
    made = await api.create_balancer()
    assert (made["listeners"], made["pools"]) == ([], [])


VALIDATION = "Validation failure: "


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        (
            {"listeners": [a_listener(80, default_pool={"protocol": "HTTP", "lb_algorithm": "SOURCE_IP"})]},
            400,
            f"{VALIDATION}Pools must be named when creating a fully populated loadbalancer.",
        ),
        (
            {"pools": [a_pool("a"), a_pool("a")]},
            400,
            f"{VALIDATION}Pool names must be unique when creating a fully populated loadbalancer.",
        ),
        (
            {"listeners": [a_listener(80, default_pool={"name": "a"})]},
            400,
            f"{VALIDATION}Pool 'a' was referenced but no full definition was found.",
        ),
        (
            {"pools": [{"name": "a", "protocol": "HTTP"}]},
            400,
            f"{VALIDATION}Pool definition for 'a' missing required attribute: lb_algorithm",
        ),
        (
            {"pools": [a_pool("a", protocol="TCP")], "listeners": [a_listener(80, default_pool={"name": "a"})]},
            400,
            f"{VALIDATION}The pool protocol 'TCP' is invalid while the listener protocol is 'HTTP'.",
        ),
        (
            {"listeners": [a_listener(80), a_listener(80, protocol="TCP")]},
            409,
            "Another Listener on this Load Balancer is already using protocol HTTP and protocol_port 80",
        ),
        (
            {"pools": [a_pool("a", members=[{"address": "10.7.0.1", "protocol_port": 1}] * 2)]},
            409,
            "Another member on this pool is already using ip 10.7.0.1 on protocol_port 1",
        ),
        (
            {"listeners": [a_listener(80, protocol="TCP", l7policies=[{"action": "REJECT"}])]},
            501,
            "Provider 'amphora' does not support a requested option: L7 policies on a TCP listener",
        ),
        (
            {"listeners": [a_listener(80, loadbalancer_id=MISSING)]},
            400,
            "Unknown attribute for argument load_balancer.loadbalancer.listeners: loadbalancer_id",
        ),
        (
            {"pools": [a_pool("a", healthmonitor={"type": "SCTP", "delay": 1, "timeout": 1, "max_retries": 1})]},
            400,
            f"{VALIDATION}The SCTP type is only supported for pools of type UDP/SCTP.",
        ),
        (
            {"pools": [a_pool("a", members=[{"address": "10.7.0.1"}])]},
            400,
            "Invalid input for field/attribute protocol_po",
        ),
    ],
)
async def test_all_or_nothing(api: Api, values: dict[str, Any], status: int, words: str) -> None:
    before = await _count_ports(api)
    body = {"loadbalancer": {"vip_subnet_id": api.subnet_id(), "name": "refused"} | values}
    assert (await api.refuse("POST", "/loadbalancers", body, status=status)).startswith(words)
    assert (await api.get("/loadbalancers?name=refused"))["loadbalancers"] == []
    assert await _count_ports(api) == before


async def _count_ports(api: Api) -> int:
    return len((await api.get("//network/v2.0/ports"))["ports"])


# VIPs


async def test_vip_by_subnet(api: Api) -> None:
    made = await api.create_balancer(vip_subnet_id=api.subnet_id("front6"), vip_address="FD09::00ff")
    assert (made["vip_address"], made["vip_subnet_id"]) == ("fd09::ff", api.subnet_id("front6"))
    assert made["vip_network_id"] == api.network_id()


async def test_vip_by_network(api: Api) -> None:
    made = await api.create("loadbalancers", vip_network_id=api.network_id())
    assert made["vip_subnet_id"] == api.subnet_id("front4")
    made = await api.create("loadbalancers", vip_network_id=api.network_id(), vip_address="fd09::aa")
    assert made["vip_subnet_id"] == api.subnet_id("front6")
    made = await api.create("loadbalancers", vip_network_id=api.network_id(), vip_subnet_id=api.subnet_id("front6"))
    assert made["vip_subnet_id"] == api.subnet_id("front6")


async def test_additional_vips(api: Api) -> None:
    more = [{"subnet_id": api.subnet_id("front6"), "ip_address": "fd09::77"}]
    made = await api.create_balancer(additional_vips=more)
    wanted = more[0] | {"port_id": made["vip_port_id"]}
    assert made["additional_vips"] == [wanted]
    assert (await api.get(f"/loadbalancers/{made['id']}"))["loadbalancer"]["additional_vips"] == [wanted]
    assert (await api.create_balancer(additional_vips=None))["additional_vips"] == []


async def test_a_full_range(api: Api) -> None:
    for _ in range(2):
        await api.create_balancer(vip_subnet_id=api.subnet_id("small4"))
    body: dict[str, Any] = {"loadbalancer": {"vip_subnet_id": api.subnet_id("small4")}}
    assert "no address is free" in await api.refuse("POST", "/loadbalancers", body, status=409)
    body = {"loadbalancer": {"vip_network_id": api.network_id("small")}}
    sentence = await api.refuse("POST", "/loadbalancers", body, status=400)
    assert sentence == f"{VALIDATION}Subnet(s) in the supplied network do not contain enough available IPs."


async def test_a_taken_address(api: Api) -> None:
    made = await api.create_balancer()
    body = {"loadbalancer": {"vip_subnet_id": api.subnet_id(), "vip_address": made["vip_address"]}}
    sentence = await api.refuse("POST", "/loadbalancers", body, status=409)
    assert sentence.startswith("The VIP IP address is already in use: ")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, f"{VALIDATION}VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id."),
        ({"vip_address": "10.9.0.9"}, f"{VALIDATION}VIP must contain one of: "),
        ({"vip_subnet_id": MISSING}, f"Subnet {MISSING} not found."),
        ({"vip_network_id": MISSING}, f"Network {MISSING} not found."),
        ({"vip_port_id": MISSING}, f"Port {MISSING} not found."),
        (
            {"vip_subnet_id": "front4", "vip_address": "10.1.1.1"},
            f"{VALIDATION}Supplied network does not contain a subn",
        ),
        (
            {"vip_network_id": "front", "vip_address": "10.1.1.1"},
            f"{VALIDATION}Supplied network does not contain a subn",
        ),
        (
            {"vip_network_id": "front", "vip_subnet_id": "back4"},
            f"{VALIDATION}Supplied network does not contain a subn",
        ),
        (
            {"vip_subnet_id": "front4", "additional_vips": [{"subnet_id": "front4"}]},
            f"{VALIDATION}Duplicate VIP subnet(s) specified. Only one IP can be bound per subnet.",
        ),
        (
            {"vip_subnet_id": "front4", "additional_vips": [{"subnet_id": "back4"}]},
            f"{VALIDATION}All VIP subnets must belong to the same network.",
        ),
        ({"vip_subnet_id": "front4", "flavor_id": MISSING}, f"{VALIDATION}Invalid flavor_id."),
        ({"vip_subnet_id": "front4", "availability_zone": "z"}, f"{VALIDATION}Invalid availability zone."),
        ({"vip_subnet_id": "front4", "provider": "other"}, "Provider 'other' is not enabled."),
        (
            {"vip_subnet_id": "front4", "vip_qos_policy_id": MISSING},
            f"{VALIDATION}VIP QoS policy is not allowed in this",
        ),
        ({"vip_subnet_id": "front4", "vip_sg_ids": [MISSING]}, f"Security Group {MISSING} not found."),
    ],
)
async def test_vip_refusals(api: Api, values: dict[str, Any], words: str) -> None:
    named = {name: _resolve(api, value) for name, value in values.items()}
    sentence = await api.refuse("POST", "/loadbalancers", {"loadbalancer": named}, status=400)
    assert sentence.startswith(words)


def _resolve(api: Api, value: Any) -> Any:
    if isinstance(value, list):
        return [{k: _resolve(api, v) for k, v in one.items()} if isinstance(one, dict) else one for one in value]
    if value == "front":
        return api.network_id()
    return api.subnet_id(value) if value in ("front4", "front6", "back4", "small4") else value


async def test_a_port_in_use(api: Api) -> None:
    made = await api.create_balancer()
    body = {"loadbalancer": {"vip_port_id": made["vip_port_id"]}}
    sentence = await api.refuse("POST", "/loadbalancers", body, status=400)
    assert sentence == f"{VALIDATION}Port {made['vip_port_id']} is already used by device {made['id']} "


async def test_the_provider_is_shown_as_given(api: Api) -> None:
    assert (await api.create_balancer(provider="octavia"))["provider"] == "octavia"
    assert (await api.create_balancer(provider=None))["provider"] == "amphora"
