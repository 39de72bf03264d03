"""From the tenant's tree to what one amphora should be."""

import datetime as dt
from typing import Any

import msgspec
import pytest

from statera.base.errors import Lasting, Transient
from statera.model.amphora import Amphora
from statera.model.engines import EngineName
from statera.model.enums import HttpMethod, ListenerProtocol, MonitorType, Topology
from statera.model.network import Attachment, Network, Port, PortAddress, Subnet
from statera.model.spec import MonitorSpec
from statera.model.tree import Tree
from statera.plan.spec import (
    count_amphorae,
    decide_amphora_spec,
    decide_limits,
    decide_sandbox_spec,
    list_vips,
    list_wanted_networks,
)
from tests.golden.cases import make_tree

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
LIMITS = decide_limits(memory_mib=256, file_descriptors=16_384, cpu_percent=0)
MEMBER = {"id": "member", "address": "198.51.100.1", "protocol_port": 80}
MONITOR = {"type": "TCP", "delay": 5, "timeout": 3, "max_retries": 2}


def small_tree(listener: dict[str, Any] | None = None, pool: dict[str, Any] | None = None) -> Tree:
    plain_listener = {"id": "web", "protocol": "HTTP", "protocol_port": 80, "default_pool_id": "pool"}
    plain_pool = {"id": "pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [MEMBER]}
    return make_tree({"listeners": [plain_listener | (listener or {})], "pools": [plain_pool | (pool or {})]})


# Limits


@pytest.mark.parametrize(
    ("memory_mib", "file_descriptors", "most"),
    [(256, 16_384, 5916), (4096, 16_384, 8064), (4096, 1024, 384), (32, 256, 1), (49, 1_000_000, 28)],
)
def test_connections_follow_from_memory_and_descriptors(memory_mib: int, file_descriptors: int, most: int):
    limits = decide_limits(memory_mib=memory_mib, file_descriptors=file_descriptors, cpu_percent=50)
    assert limits.max_connections == most
    assert (limits.memory_mib, limits.file_descriptors, limits.cpu_percent) == (memory_mib, file_descriptors, 50)


@pytest.mark.parametrize(("given", "used"), [(-1, 5916), (None, 5916), (0, 0), (7, 7), (2**31 - 1, 5916)])
def test_a_connection_limit_is_applied_within_the_sandboxs(given: int | None, used: int):
    (listener,) = decide_amphora_spec(small_tree({"connection_limit": given}), "amphora", LIMITS).listeners
    assert listener.max_connections == used


# What is served


def test_every_attribute_arrives():
    listener = {
        "timeout_client_data": 1,
        "timeout_member_connect": 2,
        "timeout_member_data": 3,
        "timeout_tcp_inspect": 4,
        "allowed_cidrs": ["10.0.0.0/8"],
        "insert_headers": {"X-Real-IP": "TRUE", "X-Forwarded-For": "true", "X-Client-IP": "yes"},
    }
    member = MEMBER | {"weight": 9, "backup": True, "monitor_address": "198.51.100.9", "monitor_port": 81}
    tree = small_tree(
        listener, {"members": [member], "health_monitor": MONITOR, "session_persistence": {"type": "SOURCE_IP"}}
    )
    spec = decide_amphora_spec(tree, "amphora", LIMITS)
    (seen,) = spec.listeners
    assert (spec.amphora_id, spec.load_balancer_id, spec.limits) == ("amphora", "balancer", LIMITS)
    assert (seen.timeout_client_ms, seen.timeout_connect_ms, seen.timeout_server_ms) == (1, 2, 3)
    assert seen.timeout_tcp_inspect_ms == 4
    assert seen.allowed_cidrs == ("10.0.0.0/8",)
    assert seen.insert_headers == ("X-Forwarded-For", "X-Real-IP")
    assert (seen.addresses, seen.port, seen.pool_id) == (("192.0.2.10",), 80, "pool")
    (pool,) = spec.pools
    (one,) = pool.members
    assert (one.weight, one.backup, one.monitor_address, one.monitor_port) == (9, True, "198.51.100.9", 81)
    assert pool.persistence is not None
    assert pool.monitor is not None
    assert (pool.monitor.interval_ms, pool.monitor.timeout_ms, pool.monitor.rise, pool.monitor.fall) == (
        5000,
        3000,
        2,
        3,
    )


def test_zero_timeouts_are_the_defaults():
    zeros = {"timeout_client_data": 0, "timeout_member_connect": 0, "timeout_member_data": 0, "timeout_tcp_inspect": 0}
    (listener,) = decide_amphora_spec(small_tree(zeros), "amphora", LIMITS).listeners
    assert (listener.timeout_client_ms, listener.timeout_connect_ms, listener.timeout_server_ms) == (
        50_000,
        5_000,
        50_000,
    )
    assert listener.timeout_tcp_inspect_ms == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"admin_state_up": False},
        {"deleting": True},
        {"protocol": "TERMINATED_HTTPS"},
    ],
)
def test_listeners_that_are_not_served(changes: dict[str, Any]):
    spec = decide_amphora_spec(small_tree(changes), "amphora", LIMITS)
    assert (spec.listeners, spec.pools) == ((), ())


def test_a_listener_of_metrics_ends_tls_when_it_has_certificates():
    (plain,) = decide_amphora_spec(small_tree({"protocol": "PROMETHEUS"}), "amphora", LIMITS).listeners
    assert plain.tls is None
    secure = small_tree({"protocol": "PROMETHEUS", "default_tls_container_ref": "www"})
    (listener,) = decide_amphora_spec(secure, "amphora", LIMITS, {"www": "digest"}).listeners
    assert listener.tls is not None
    assert listener.tls.certificates == ("digest",)


def test_nothing_is_served_of_a_load_balancer_that_is_down():
    tree = small_tree()
    down = msgspec.structs.replace(tree.load_balancer, admin_state_up=False)
    assert decide_amphora_spec(msgspec.structs.replace(tree, load_balancer=down), "amphora", LIMITS).listeners == ()


@pytest.mark.parametrize("listener", [{"default_pool_id": None}, {"default_pool_id": "unknown"}])
def test_a_listener_without_a_pool(listener: dict[str, Any]):
    spec = decide_amphora_spec(small_tree(listener), "amphora", LIMITS)
    assert (spec.listeners[0].pool_id, spec.pools) == (None, ())


def test_a_pool_on_its_way_out_serves_nobody():
    spec = decide_amphora_spec(small_tree(pool={"deleting": True}), "amphora", LIMITS)
    assert (spec.listeners[0].pool_id, spec.pools) == (None, ())


def test_a_disabled_pool_stays_to_be_told_apart_from_none():
    spec = decide_amphora_spec(small_tree(pool={"admin_state_up": False}), "amphora", LIMITS)
    assert spec.listeners[0].pool_id == "pool"
    assert spec.pools[0].enabled is False


def test_members_on_their_way_out_are_left_and_disabled_ones_stay():
    members = [MEMBER, MEMBER | {"id": "gone", "deleting": True}, MEMBER | {"id": "down", "admin_state_up": False}]
    (pool,) = decide_amphora_spec(small_tree(pool={"members": members}), "amphora", LIMITS).pools
    assert [(member.id, member.enabled) for member in pool.members] == [("member", True), ("down", False)]


def test_a_monitor_that_is_deleted_is_left_out():
    tree = small_tree(pool={"health_monitor": MONITOR | {"deleting": True}})
    (pool,) = decide_amphora_spec(tree, "amphora", LIMITS).pools
    assert pool.monitor is None


def test_a_monitor_that_is_off_stays_so_that_it_comes_back_without_a_reload():
    tree = small_tree(pool={"health_monitor": MONITOR | {"admin_state_up": False}})
    (pool,) = decide_amphora_spec(tree, "amphora", LIMITS).pools
    assert pool.monitor is not None
    assert not pool.monitor.enabled


def test_a_monitors_blanks_are_filled_in():
    bare = {"type": "HTTP", "delay": 0, "timeout": 0, "max_retries": 1, "url_path": None, "http_method": "HEAD"}
    (pool,) = decide_amphora_spec(small_tree(pool={"health_monitor": bare}), "amphora", LIMITS).pools
    assert pool.monitor == MonitorSpec(
        id="pool-monitor",
        type=MonitorType.HTTP,
        interval_ms=1000,
        timeout_ms=1000,
        rise=1,
        fall=3,
        http_method=HttpMethod.HEAD,
        url_path="/",
        expected_codes="200",
    )


@pytest.mark.parametrize(("topology", "count"), [(Topology.SINGLE, 1), (Topology.ACTIVE_STANDBY, 2)])
def test_amphorae_of_a_topology(topology: Topology, count: int):
    assert count_amphorae(msgspec.structs.replace(small_tree().load_balancer, topology=topology)) == count


def test_tcp_is_served_with_a_pool_of_http():
    (listener,) = decide_amphora_spec(small_tree({"protocol": "TCP"}), "amphora", LIMITS).listeners
    assert listener.protocol is ListenerProtocol.TCP


# Networks and the sandbox

HOME = Network(
    id="network",
    name="home",
    mtu=1450,
    attachment=Attachment(kind="bridge", device="br-home"),
    subnets=(
        Subnet(id="subnet", name="four", network_id="network", cidr="192.0.2.0/24", gateway_ip="192.0.2.1"),
        Subnet(id="six", name="six", network_id="network", cidr="2001:db8::/64", gateway_ip="2001:db8::1"),
    ),
)
FAR = Network(
    id="far",
    name="far",
    attachment=Attachment(kind="bridge", device="br-far"),
    subnets=(Subnet(id="far-four", name="far", network_id="far", cidr="10.9.0.0/16", gateway_ip="10.9.0.1"),),
)
NETWORKS = (FAR, HOME)


def make_port(network_id: str, *places: tuple[str, str]) -> Port:
    return Port(
        id=f"port-{network_id}",
        network_id=network_id,
        name="",
        device_id="amphora",
        mac_address=f"02:00:00:00:00:0{len(network_id)}",
        addresses=tuple(PortAddress(subnet_id=subnet_id, address=address) for subnet_id, address in places),
    )


def make_amphora(*ports: Port) -> Amphora:
    return Amphora(id="amphora", load_balancer_id="balancer", host="one", ports=ports, created_at=NOW)


def two_networks_tree() -> Tree:
    extra = [{"address": "2001:db8::10", "subnet_id": "six", "network_id": "network", "port_id": "port"}]
    members = [
        MEMBER | {"id": "near", "subnet_id": "subnet"},
        MEMBER | {"id": "far", "subnet_id": "far-four"},
        MEMBER | {"id": "gone", "subnet_id": "far-four", "deleting": True},
        MEMBER | {"id": "anywhere"},
        MEMBER | {"id": "unknown", "subnet_id": "nobody-knows"},
    ]
    pool = {"id": "pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members}
    return make_tree({"load_balancer": {"additional_vips": extra}, "pools": [pool]})


def test_networks_of_vips_and_members():
    assert list_wanted_networks(two_networks_tree(), NETWORKS) == (
        ("network", ("subnet", "six")),
        ("far", ("far-four",)),
    )


def test_only_the_vips_network_when_no_member_names_another():
    assert list_wanted_networks(small_tree(), NETWORKS) == (("network", ("subnet",)),)


def test_the_sandbox_has_the_vips_on_the_first_interface():
    far = make_port("far", ("far-four", "10.9.0.5"))
    home = make_port("network", ("subnet", "192.0.2.20"), ("six", "2001:db8::20"))
    sandbox = decide_sandbox_spec(two_networks_tree(), make_amphora(far, home), NETWORKS, LIMITS)
    first, second = sandbox.interfaces
    assert (first.name, first.network_id, first.mtu, first.attachment.device) == ("eth0", "network", 1450, "br-home")
    assert first.addresses == ("192.0.2.20/24", "2001:db8::20/64")
    assert first.vips == ("192.0.2.10", "2001:db8::10")
    assert first.gateways == ("192.0.2.1", "2001:db8::1")
    assert (second.name, second.addresses, second.vips, second.gateways) == ("eth1", ("10.9.0.5/16",), (), ())
    assert [vip.address for vip in list_vips(two_networks_tree().load_balancer)] == ["192.0.2.10", "2001:db8::10"]


def test_equal_sandboxes_have_equal_digests_whatever_the_order_of_ports():
    ports = [make_port("far", ("far-four", "10.9.0.5")), make_port("network", ("subnet", "192.0.2.20"))]
    one, other = (
        decide_sandbox_spec(two_networks_tree(), make_amphora(*order), NETWORKS, LIMITS)
        for order in (ports, ports[::-1])
    )
    assert one == other
    assert one.digest() == other.digest()


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (make_port("lost", ("subnet", "192.0.2.20")), "Network lost is not known"),
        (make_port("network", ("lost", "192.0.2.20")), "Subnet lost is not known"),
    ],
)
def test_an_unknown_network_says_so(port: Port, words: str):
    with pytest.raises(Transient, match=words) as raised:
        decide_sandbox_spec(two_networks_tree(), make_amphora(port), NETWORKS, LIMITS)
    assert raised.value.reason.slug == "network-unknown"


@pytest.mark.parametrize(
    ("protocol", "engines", "chosen"),
    [
        ("HTTP", (), EngineName.HAPROXY),
        ("UDP", ("haproxy", "nginx"), EngineName.NGINX),
        ("UDP", ("haproxy", "ipvs", "nginx"), EngineName.LVS),
        ("SCTP", ("haproxy", "ipvs", "sctp"), EngineName.LVS),
    ],
)
def test_each_listener_has_an_engine_that_can(protocol: str, engines: tuple[str, ...], chosen: EngineName):
    tree = small_tree({"protocol": protocol})
    (listener,) = decide_amphora_spec(tree, "amphora", LIMITS, engines=engines).listeners
    assert listener.engine == chosen


@pytest.mark.parametrize(
    ("protocol", "engines", "lacks"),
    [
        ("UDP", ("haproxy",), "nginx with its stream module, or IPVS in the kernel and keepalived"),
        ("SCTP", ("haproxy", "nginx"), "IPVS in the kernel and keepalived"),
        ("SCTP", ("haproxy", "ipvs"), "SCTP in the kernel"),
    ],
)
def test_what_a_host_lacks_is_named(protocol: str, engines: tuple[str, ...], lacks: str):
    with pytest.raises(Lasting, match=lacks) as refused:
        decide_amphora_spec(small_tree({"protocol": protocol}), "amphora", LIMITS, engines=engines)
    assert refused.value.reason.slug == "engine-missing"
