"""Every method of openstacksdk's load balancer proxy against the API over HTTP, by the `clouds.yaml` that we write."""

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import openstack
import pytest
from openstack import exceptions
from openstack.connection import Connection
from openstack.load_balancer.v2 import _proxy

from statera.api.clouds import render_clouds_yaml
from statera.base.ids import new_id
from tests.contract.conftest import NETWORKS
from tests.contract.serving import run_noop

METHODS = frozenset(
    name for name, value in vars(_proxy.Proxy).items() if inspect.isfunction(value) and not name.startswith("_")
)
MISSING = "11111111-2222-3333-4444-555555555555"
QUICK: dict[str, Any] = {"interval": 0.05, "wait": 30}
LONG = "x" * 256


class Balancing:
    """The proxy; it remembers which of its methods did their work and which were refused."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.succeeded: set[str] = set()
        self.refused: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*args: Any, **values: Any) -> Any:
            try:
                told = getattr(self.connection.load_balancer, name)(*args, **values)
                told = list(told) if inspect.isgenerator(told) else told
            except exceptions.SDKException:
                self.refused.add(name)
                raise
            self.succeeded.add(name)
            return told

        return method

    def subnet_id(self, name: str) -> str:
        subnet = self.connection.network.find_subnet(name, ignore_missing=False)
        return str(subnet.id)


@pytest.fixture(scope="module")
def sdk(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancing]:
    folder = tmp_path_factory.mktemp("sdk")
    with run_noop(module_database_url, folder, networks=NETWORKS) as url:
        file = folder / "clouds.yaml"
        file.write_text(render_clouds_yaml(url), encoding="utf-8")
        config = openstack.config.OpenStackConfig(config_files=[str(file)], load_envvars=False)
        with Connection(config=config.get_one("statera")) as connection:
            yield Balancing(connection)


def test_every_method_succeeds(sdk: Balancing) -> None:
    flavor, profile = use_flavors(sdk)
    zone, zone_profile = use_zones(sdk)
    balancer = use_load_balancers(sdk, flavor, zone)
    pool = use_pools(sdk, balancer)
    listener = use_listeners(sdk, balancer, pool)
    member = use_members(sdk, pool)
    monitor = use_health_monitors(sdk, pool)
    use_l7(sdk, listener, pool)
    use_amphorae(sdk, balancer)
    use_quotas(sdk)
    assert [one.name for one in sdk.providers()] == ["amphora", "octavia"]
    assert "loadbalancer_topology" in {one.name for one in sdk.provider_flavor_capabilities("amphora")}
    sdk.delete_member(member, pool)
    sdk.delete_health_monitor(monitor)
    sdk.delete_listener(listener)
    sdk.delete_pool(pool)
    sdk.delete_load_balancer(balancer, cascade=True)
    sdk.wait_for_delete(balancer, **QUICK)
    for delete, made in (
        (sdk.delete_flavor, flavor),
        (sdk.delete_flavor_profile, profile),
        (sdk.delete_availability_zone, zone.name),
        (sdk.delete_availability_zone_profile, zone_profile),
    ):
        delete(made, ignore_missing=False)
    assert METHODS - sdk.succeeded == set()


def use_flavors(sdk: Balancing) -> tuple[Any, Any]:
    data = json.dumps({"loadbalancer_topology": "SINGLE"})
    profile = sdk.create_flavor_profile(name="single", provider_name="amphora", flavor_data=data)
    assert sdk.update_flavor_profile(profile, name="plain").name == "plain"
    assert sdk.get_flavor_profile(profile.id).flavor_data == data
    assert sdk.find_flavor_profile("plain").id == profile.id
    assert [one.id for one in sdk.flavor_profiles(provider_name="amphora")] == [profile.id]
    flavor = sdk.create_flavor(name="small", flavor_profile_id=profile.id, description="cheap")
    assert sdk.update_flavor(flavor, description="dear").description == "dear"
    assert sdk.get_flavor(flavor.id).is_enabled is True
    assert sdk.find_flavor("small").id == flavor.id
    assert [one.name for one in sdk.flavors(is_enabled=True)] == ["small"]
    return flavor, profile


def use_zones(sdk: Balancing) -> tuple[Any, Any]:
    data = json.dumps({"compute_zone": "a"})
    profile = sdk.create_availability_zone_profile(name="here", provider_name="amphora", availability_zone_data=data)
    assert sdk.update_availability_zone_profile(profile, name="there").name == "there"
    assert sdk.get_availability_zone_profile(profile.id).availability_zone_data == data
    assert sdk.find_availability_zone_profile("there").id == profile.id
    assert [one.id for one in sdk.availability_zone_profiles()] == [profile.id]
    zone = sdk.create_availability_zone(name="east", availability_zone_profile_id=profile.id)
    assert sdk.update_availability_zone("east", description="sunny").description == "sunny"
    assert sdk.get_availability_zone("east").availability_zone_profile_id == profile.id
    assert sdk.find_availability_zone("east").name == "east"
    assert [one.name for one in sdk.availability_zones(is_enabled=True)] == ["east"]
    return zone, profile


def use_load_balancers(sdk: Balancing, flavor: Any, zone: Any) -> Any:
    made = sdk.create_load_balancer(
        name="web", vip_subnet_id=sdk.subnet_id("front4"), tags=["blue"], flavor_id=flavor.id,
        availability_zone=zone.name, additional_vips=[{"subnet_id": sdk.subnet_id("front6")}],
    )  # fmt: skip
    assert (made.provisioning_status, made.tags, made.flavor_id) == ("PENDING_CREATE", ["blue"], flavor.id)
    assert sdk.wait_for_load_balancer("web", **QUICK).provisioning_status == "ACTIVE"
    changed = sdk.update_load_balancer(made, description="more", is_admin_state_up=False)
    assert (changed.description, changed.is_admin_state_up) == ("more", False)
    assert sdk.wait_for_status(made, "ACTIVE", attribute="provisioning_status", **QUICK).name == "web"
    shown = sdk.get_load_balancer(made.id)
    assert (shown.vip_address, shown.availability_zone) == (made.vip_address, "east")
    assert len(shown.additional_vips) == 1
    assert sdk.find_load_balancer("web").id == made.id
    assert [one.id for one in sdk.load_balancers(name="web", is_admin_state_up=False, tags="blue")] == [made.id]
    assert sdk.load_balancers(provisioning_status="ERROR") == []
    assert sdk.get_load_balancer_statistics(made.id).bytes_in == 0
    return made


def use_pools(sdk: Balancing, balancer: Any) -> Any:
    made = sdk.create_pool(
        name="servers", protocol="HTTP", lb_algorithm="ROUND_ROBIN", loadbalancer_id=balancer.id,
        session_persistence={"type": "SOURCE_IP"},
    )  # fmt: skip
    assert made.session_persistence["type"] == "SOURCE_IP"
    assert sdk.update_pool(made, lb_algorithm="LEAST_CONNECTIONS", session_persistence=None).session_persistence is None
    shown = sdk.get_pool(made.id)
    assert (shown.lb_algorithm, shown.loadbalancers) == ("LEAST_CONNECTIONS", [{"id": balancer.id}])
    assert sdk.find_pool("servers").id == made.id
    assert [one.id for one in sdk.pools(loadbalancer_id=balancer.id)] == [made.id]
    return made


def use_listeners(sdk: Balancing, balancer: Any, pool: Any) -> Any:
    made = sdk.create_listener(
        name="http", protocol="HTTP", protocol_port=80, load_balancer_id=balancer.id, default_pool_id=pool.id,
        insert_headers={"X-Forwarded-For": "true"}, allowed_cidrs=["10.0.0.0/8"],
    )  # fmt: skip
    assert (made.load_balancers, made.default_pool_id) == ([{"id": balancer.id}], pool.id)
    assert sdk.update_listener(made, connection_limit=5, allowed_cidrs=None).connection_limit == 5
    shown = sdk.get_listener(made.id)
    assert (shown.allowed_cidrs, shown.insert_headers) == (None, {"X-Forwarded-For": "true"})
    assert sdk.find_listener("http").id == made.id
    assert [one.id for one in sdk.listeners(load_balancer_id=balancer.id, protocol_port=80)] == [made.id]
    assert sdk.get_listener_statistics(made.id).total_connections == 0
    return made


def use_members(sdk: Balancing, pool: Any) -> Any:
    made = sdk.create_member(pool, name="one", address="10.7.0.1", protocol_port=80, weight=3, backup=True)
    assert (made.weight, made.backup, made.monitor_port) == (3, True, None)
    assert sdk.update_member(made, pool, weight=0).weight == 0
    assert sdk.get_member(made.id, pool).address == "10.7.0.1"
    assert sdk.find_member("one", pool).id == made.id
    assert [one.id for one in sdk.members(pool, weight=0)] == [made.id]
    return made


def use_health_monitors(sdk: Balancing, pool: Any) -> Any:
    made = sdk.create_health_monitor(name="check", pool_id=pool.id, type="HTTP", delay=5, timeout=4, max_retries=3)
    assert (made.url_path, made.expected_codes, made.pools) == ("/", "200", [{"id": pool.id}])
    assert sdk.update_health_monitor(made, url_path="/health").url_path == "/health"
    assert sdk.get_health_monitor(made.id).max_retries_down == 3
    assert sdk.find_health_monitor("check").id == made.id
    assert [one.id for one in sdk.health_monitors(type="HTTP")] == [made.id]
    return made


def use_l7(sdk: Balancing, listener: Any, pool: Any) -> None:
    made = sdk.create_l7_policy(
        name="away", listener_id=listener.id, action="REDIRECT_TO_POOL", redirect_pool_id=pool.id
    )
    assert sdk.update_l7_policy(made, action="REDIRECT_TO_URL", redirect_url="http://a.example/").position == 1
    assert sdk.get_l7_policy(made.id).redirect_url == "http://a.example/"
    assert sdk.find_l7_policy("away").id == made.id
    assert [one.id for one in sdk.l7_policies(listener_id=listener.id)] == [made.id]
    rule = sdk.create_l7_rule(made, type="PATH", compare_type="STARTS_WITH", rule_value="/a")
    assert sdk.update_l7_rule(rule, made, rule_value="/b").rule_value == "/b"
    assert sdk.get_l7_rule(rule.id, made).invert is False
    assert sdk.find_l7_rule(rule.id, made).id == rule.id
    assert [one.id for one in sdk.l7_rules(made, type="PATH")] == [rule.id]
    sdk.delete_l7_rule(rule, made)
    sdk.delete_l7_policy(made)


def use_amphorae(sdk: Balancing, balancer: Any) -> None:
    sdk.wait_for_load_balancer(balancer.id, **QUICK)
    (amphora,) = sdk.amphorae(loadbalancer_id=balancer.id)
    assert sdk.get_amphora(amphora.id).ha_ip == balancer.vip_address
    assert sdk.find_amphora(amphora.id).status == "ALLOCATED"
    sdk.configure_amphora(amphora.id)
    sdk.failover_amphora(amphora.id)
    sdk.wait_for_load_balancer(balancer.id, **QUICK)
    sdk.failover_load_balancer(balancer.id)
    sdk.wait_for_load_balancer(balancer.id, **QUICK)
    assert amphora.id not in {one.id for one in sdk.amphorae(loadbalancer_id=balancer.id)}


def use_quotas(sdk: Balancing) -> None:
    project_id = new_id().replace("-", "")
    assert sdk.get_quota_default().load_balancers == -1
    assert sdk.update_quota(project_id, load_balancers=5, health_monitors=6).load_balancers == 5
    assert sdk.get_quota(project_id).health_monitors == 6
    assert [one.load_balancers for one in sdk.quotas(project_id=project_id)] == [5]
    sdk.delete_quota(project_id, ignore_missing=False)
    assert sdk.get_quota(project_id).load_balancers == -1


# Every method refused

GONE = exceptions.NotFoundException
BAD = exceptions.BadRequestException
TAKEN = exceptions.ConflictException
FAULT = exceptions.ResourceFailure
STRICT: dict[str, Any] = {"ignore_missing": False}
BELOW_POOL = ("create_member", "members")
Refusal = tuple[type[Exception], tuple[Any, ...], dict[str, Any]]

REFUSALS: dict[str, Refusal] = {
    **{
        f"get_{name}": (GONE, (MISSING,), {})
        for name in (
            "amphora", "availability_zone", "availability_zone_profile", "flavor", "flavor_profile", "health_monitor",
            "l7_policy", "listener", "listener_statistics", "load_balancer", "load_balancer_statistics", "pool",
        )
    },
    **{
        f"find_{name}": (GONE, ("nowhere",), STRICT)
        for name in (
            "amphora", "availability_zone", "availability_zone_profile", "flavor", "flavor_profile", "health_monitor",
            "l7_policy", "listener", "load_balancer", "pool",
        )
    },
    **{
        f"delete_{name}": (GONE, (MISSING,), STRICT)
        for name in (
            "availability_zone", "availability_zone_profile", "flavor", "flavor_profile", "health_monitor", "l7_policy",
            "listener", "load_balancer", "pool", "quota",
        )
    },
    **{
        f"update_{name}": (GONE, (MISSING,), {"name": "x"})
        for name in (
            "availability_zone_profile", "flavor", "flavor_profile", "health_monitor", "l7_policy", "listener",
            "load_balancer", "pool",
        )
    },
    **{
        plural: (BAD, (), {"marker": MISSING})
        for plural in (
            "amphorae", "availability_zone_profiles", "flavor_profiles", "flavors", "health_monitors", "l7_policies",
            "listeners", "load_balancers", "pools",
        )
    },
    "availability_zones": (BAD, (), {"marker": "nowhere"}),
    "configure_amphora": (GONE, (MISSING,), {}),
    "create_availability_zone": (BAD, (), {"name": "x"}),
    "create_availability_zone_profile": (BAD, (), {"name": "x", "provider_name": "amphora"}),
    "create_flavor": (BAD, (), {"name": "x", "flavor_profile_id": MISSING}),
    "create_flavor_profile": (BAD, (), {"name": "x", "provider_name": "amphora", "flavor_data": "nope"}),
    "create_health_monitor": (BAD, (), {"pool_id": "nope"}),
    "create_l7_policy": (GONE, (), {"listener_id": MISSING, "action": "REJECT"}),
    "create_l7_rule": (GONE, (MISSING,), {"type": "PATH", "compare_type": "REGEX", "rule_value": "x"}),
    "create_listener": (BAD, (), {"protocol": "QUIC", "protocol_port": 80}),
    "create_load_balancer": (BAD, (), {"name": LONG}),
    "create_member": (GONE, (MISSING,), {"address": "10.7.0.1", "protocol_port": 80}),
    "create_pool": (BAD, (), {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}),
    "delete_l7_rule": (GONE, (MISSING, MISSING), STRICT),
    "delete_member": (GONE, (MISSING, MISSING), STRICT),
    "failover_amphora": (GONE, (MISSING,), {}),
    "failover_load_balancer": (GONE, (MISSING,), {}),
    "find_l7_rule": (GONE, ("nowhere", MISSING), STRICT),
    "find_member": (GONE, ("nowhere", MISSING), STRICT),
    "get_l7_rule": (GONE, (MISSING, MISSING), {}),
    "get_member": (GONE, (MISSING, MISSING), {}),
    "l7_rules": (GONE, (MISSING,), {}),
    "members": (GONE, (MISSING,), {}),
    "provider_flavor_capabilities": (BAD, ("nope",), {}),
    "quotas": (BAD, (), {"limit": "nope"}),
    "update_availability_zone": (GONE, ("nowhere",), {"description": "x"}),
    "update_l7_rule": (GONE, (MISSING, MISSING), {"type": "PATH"}),
    "update_member": (GONE, (MISSING, MISSING), {"weight": 1}),
    "update_quota": (BAD, ("some",), {"pools": 2**40}),
    "wait_for_load_balancer": (GONE, ("nowhere",), {}),
}  # fmt: skip
NEVER_REFUSED = {
    "get_quota": "every project has a quota",
    "get_quota_default": "takes nothing to be wrong about",
    "providers": "takes nothing to be wrong about",
    "wait_for_delete": "waits with other methods",
    "wait_for_status": "waits with other methods",
}


def test_every_method_has_a_refusal() -> None:
    assert REFUSALS.keys() | NEVER_REFUSED.keys() == METHODS
    assert not REFUSALS.keys() & NEVER_REFUSED.keys()


@pytest.mark.parametrize("name", REFUSALS)
def test_refused(sdk: Balancing, name: str) -> None:
    kind, words, values = REFUSALS[name]
    with pytest.raises(kind):
        getattr(sdk, name)(*words, **values)


def test_lists_are_read_page_by_page(sdk: Balancing) -> None:
    """The SDK follows the links that it is given, and they keep its filters."""
    subnet_id = sdk.subnet_id("back4")
    made = [sdk.create_load_balancer(name="paged", vip_subnet_id=subnet_id).id for _ in range(3)]
    sdk.create_load_balancer(name="other", vip_subnet_id=subnet_id)
    assert [one.id for one in sdk.load_balancers(limit=1, name="paged")] == made
