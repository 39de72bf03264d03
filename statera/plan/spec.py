"""What one amphora should be: the tenant's tree as the spec that `render/` reads, and the sandbox an agent builds."""

import ipaddress
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from statera.base.errors import Lasting, Transient
from statera.base.reason import Reason
from statera.model.amphora import Amphora
from statera.model.document import FileKind
from statera.model.engines import COMMON_ENGINES, choose_engine
from statera.model.enums import L7_LISTENER_PROTOCOLS, ListenerProtocol, Topology
from statera.model.l7 import list_effective_rules, order_policies, tell_idle
from statera.model.network import Network, Port
from statera.model.spec import (
    AmphoraSpec,
    InterfaceSpec,
    L7PolicySpec,
    L7RuleSpec,
    LimitsSpec,
    ListenerSpec,
    MemberSpec,
    MonitorSpec,
    PersistenceSpec,
    PoolSpec,
    SandboxSpec,
)
from statera.model.tree import (
    HealthMonitor,
    L7Rule,
    Listener,
    LoadBalancer,
    Member,
    Pool,
    SessionPersistence,
    Tree,
    Vip,
)
from statera.model.vrrp import PRIORITIES
from statera.plan.tls import decide_listener_tls, decide_pool_tls, lacks_certificates, list_own_references
from statera.plan.vrrp import decide_handover, decide_peers, decide_vrrp

BYTES_PER_CONNECTION = 36 * 1024
"""Two buffers of 16 KiB and the session around them, measured on HAProxy 2.6."""
MEMORY_KEPT_MIB = 48
"""For the master, the worker itself and an old worker during a reload."""
DESCRIPTORS_KEPT = 256
DESCRIPTORS_PER_CONNECTION = 2
TIMEOUT_CLIENT_MS, TIMEOUT_CONNECT_MS, TIMEOUT_SERVER_MS = 50_000, 5_000, 50_000
"""Used where the API holds 0 (rules.md section 13)."""
RENDERED_PROTOCOLS = (
    ListenerProtocol.HTTP,
    ListenerProtocol.HTTPS,
    ListenerProtocol.PROMETHEUS,
    ListenerProtocol.SCTP,
    ListenerProtocol.TCP,
    ListenerProtocol.TERMINATED_HTTPS,
    ListenerProtocol.UDP,
)


def decide_limits(*, memory_mib: int, file_descriptors: int, cpu_percent: int) -> LimitsSpec:
    """Derive what HAProxy may use from what the sandbox has."""
    by_memory = max(1, (memory_mib - MEMORY_KEPT_MIB) * 1024 * 1024 // BYTES_PER_CONNECTION)
    by_descriptors = max(1, (file_descriptors - DESCRIPTORS_KEPT) // DESCRIPTORS_PER_CONNECTION)
    return LimitsSpec(
        memory_mib=memory_mib,
        file_descriptors=file_descriptors,
        cpu_percent=cpu_percent,
        max_connections=min(by_memory, by_descriptors),
    )


def decide_amphora_spec(
    tree: Tree,
    amphora_id: str,
    limits: LimitsSpec,
    digests: Mapping[str, str] = {},
    engines: Collection[str] = COMMON_ENGINES,
    rows: Sequence[Amphora] = (),
) -> AmphoraSpec:
    """Return what the amphora's engines should serve: enabled, wanted things only.

    `digests` are those of certificates and keys by reference, `rows` all amphorae of the load balancer. Raises
    `Lasting`: slug `secret-not-found` for a
    reference that is not among them, `engine-missing` for a listener that none of the host's `engines` can serve.
    """
    balancer = tree.load_balancer
    wanted = [listener for listener in tree.listeners if _is_served(balancer, listener)]
    listeners = tuple(_listener_spec(tree, listener, limits, digests, engines) for listener in wanted)
    used = {pool_id for listener in listeners for pool_id in listener.pool_ids()}
    return AmphoraSpec(
        amphora_id=amphora_id,
        load_balancer_id=balancer.id,
        limits=limits,
        peers=decide_peers(balancer, amphora_id, rows),
        listeners=listeners,
        pools=tuple(_pool_spec(tree, pool, digests) for pool in tree.pools if pool.id in used),
    )


def list_references(tree: Tree) -> dict[str, FileKind]:
    """Return what `decide_amphora_spec` needs digests of: the kind of content by reference."""
    wanted = [listener for listener in tree.listeners if _is_served(tree.load_balancer, listener)]
    owners: list[Listener | Pool] = [*wanted, *(pool for pool in tree.pools if not pool.deleting)]
    return {ref: kind for one in owners for ref, kind in list_own_references(one)}


def _is_served(balancer: LoadBalancer, listener: Listener) -> bool:
    wanted = balancer.admin_state_up and listener.admin_state_up and not listener.deleting
    return wanted and listener.protocol in RENDERED_PROTOCOLS and not lacks_certificates(listener)


def _listener_spec(
    tree: Tree, listener: Listener, limits: LimitsSpec, digests: Mapping[str, str], engines: Collection[str]
) -> ListenerSpec:
    pool = tree.find_pool(listener.default_pool_id) if listener.default_pool_id else None
    limit = listener.connection_limit
    engine = choose_engine(listener.protocol, engines)
    if isinstance(engine, Reason):
        raise Lasting(engine.slug, f"Listener {listener.name or listener.id} cannot be served: {engine.sentence}")
    return ListenerSpec(
        id=listener.id,
        protocol=listener.protocol,
        engine=engine,
        port=listener.protocol_port,
        addresses=tuple(vip.address for vip in list_vips(tree.load_balancer)),
        max_connections=limits.max_connections if limit is None or limit < 0 else min(limit, limits.max_connections),
        timeout_client_ms=listener.timeout_client_data or TIMEOUT_CLIENT_MS,
        timeout_connect_ms=listener.timeout_member_connect or TIMEOUT_CONNECT_MS,
        timeout_server_ms=listener.timeout_member_data or TIMEOUT_SERVER_MS,
        timeout_tcp_inspect_ms=listener.timeout_tcp_inspect,
        allowed_cidrs=listener.allowed_cidrs or (),
        insert_headers=tuple(sorted(k for k, v in listener.insert_headers.items() if v.lower() == "true")),
        pool_id=pool.id if pool is not None and not pool.deleting else None,
        l7policies=tuple(_l7policy_specs(tree, listener)),
        tls=decide_listener_tls(listener, digests),
    )


def _l7policy_specs(tree: Tree, listener: Listener) -> Iterator[L7PolicySpec]:
    for policy in order_policies(tree, listener):
        if listener.protocol in L7_LISTENER_PROTOCOLS and tell_idle(tree, policy) is None:
            yield L7PolicySpec(
                id=policy.id,
                action=policy.action,
                target=policy.redirect_pool_id or policy.redirect_url or policy.redirect_prefix or "",
                http_code=policy.redirect_http_code or 302,
                rules=tuple(_l7rule_spec(rule) for rule in list_effective_rules(tree, policy)),
            )


def _l7rule_spec(rule: L7Rule) -> L7RuleSpec:
    return L7RuleSpec(**{name: getattr(rule, name) for name in L7RuleSpec.__struct_fields__})


def list_vips(balancer: LoadBalancer) -> tuple[Vip, ...]:
    """Return all VIPs, the primary first."""
    return (balancer.vip, *balancer.additional_vips)


def _pool_spec(tree: Tree, pool: Pool, digests: Mapping[str, str]) -> PoolSpec:
    members = [member for member in tree.list_members(pool.id) if not member.deleting]
    monitor = tree.find_health_monitor(pool.id)
    persistence = pool.session_persistence
    return PoolSpec(
        id=pool.id,
        protocol=pool.protocol,
        algorithm=pool.lb_algorithm,
        enabled=pool.admin_state_up,
        members=tuple(_member_spec(member) for member in members),
        monitor=_monitor_spec(monitor) if monitor is not None else None,
        persistence=_persistence_spec(persistence) if persistence else None,
        tls=decide_pool_tls(pool, digests),
    )


def _persistence_spec(persistence: SessionPersistence) -> PersistenceSpec:
    return PersistenceSpec(
        type=persistence.type,
        cookie_name=persistence.cookie_name,
        timeout_s=persistence.persistence_timeout,
        granularity=persistence.persistence_granularity,
    )


def _member_spec(member: Member) -> MemberSpec:
    return MemberSpec(
        id=member.id,
        address=member.address,
        port=member.protocol_port,
        weight=1 if member.weight is None else member.weight,
        backup=member.backup,
        enabled=member.admin_state_up,
        monitor_address=member.monitor_address,
        monitor_port=member.monitor_port,
    )


def _monitor_spec(monitor: HealthMonitor) -> MonitorSpec:
    spec = MonitorSpec(
        id=monitor.id,
        type=monitor.type,
        # The API accepts 0 for both; HAProxy would check without a pause.
        interval_ms=max(1, monitor.delay) * 1000,
        timeout_ms=max(1, monitor.timeout) * 1000,
        rise=monitor.max_retries,
        fall=monitor.max_retries_down,
        http_version=monitor.http_version,
        domain_name=monitor.domain_name,
        expected_body=monitor.expected_body,
        enabled=monitor.admin_state_up,
    )
    given = {
        "http_method": monitor.http_method,
        "url_path": monitor.url_path,
        "expected_codes": monitor.expected_codes,
    }
    return _replace_given(spec, given)


def _replace_given(spec: MonitorSpec, given: Mapping[str, object]) -> MonitorSpec:
    return msgspec.structs.replace(spec, **{name: value for name, value in given.items() if value is not None})


def count_amphorae(balancer: LoadBalancer) -> int:
    """Return how many amphorae the topology has."""
    return 2 if balancer.topology == Topology.ACTIVE_STANDBY else 1


def list_wanted_networks(tree: Tree, networks: Sequence[Network]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return (network id, subnet ids) of the ports an amphora needs, the VIP network first.

    Members in a subnet of another network need an interface there; others are reached through the VIP network, with an
    address of the member's own family when one of its subnets holds the member.
    """
    vips = list_vips(tree.load_balancer)
    home = vips[0].network_id
    wanted: dict[str, dict[str, None]] = {home: {vip.subnet_id: None for vip in vips if vip.subnet_id}}
    network_of = {subnet.id: network.id for network in networks for subnet in network.subnets}
    near = next((network.subnets for network in networks if network.id == home), ())
    for member in tree.members:
        if member.deleting:
            continue
        if member.subnet_id is None:
            holding = next((subnet.id for subnet in near if subnet.contains(member.address)), None)
            wanted[home] |= {holding: None} if holding else {}
        elif member.subnet_id in network_of:
            wanted.setdefault(network_of[member.subnet_id], {})[member.subnet_id] = None
    return tuple((network_id, tuple(subnets)) for network_id, subnets in wanted.items())


def decide_sandbox_spec(
    tree: Tree,
    amphora: Amphora,
    networks: Sequence[Network],
    limits: LimitsSpec,
    *,
    with_vips: bool = True,
    rows: Sequence[Amphora] = (),
) -> SandboxSpec:
    """Return the sandbox for one amphora whose ports are allocated; without the VIPs for one that stands by.

    `rows` are all amphorae of the load balancer, with which it shares the VIPs or from which it takes them over.
    Raises `Transient` (slug `network-unknown`) when a port is on a network that the driver does not show.
    """
    by_id = {network.id: network for network in networks}
    home = tree.load_balancer.vip.network_id
    ordered = sorted(amphora.ports, key=lambda port: (port.network_id != home, port.network_id))
    others = [row for row in rows if row.id != amphora.id]
    interfaces = []
    vips = tuple(vip.address for vip in list_vips(tree.load_balancer)) if with_vips else ()
    for number, port in enumerate(ordered):
        network = by_id.get(port.network_id)
        if network is None:
            raise Transient("network-unknown", f"Network {port.network_id} is not known to the network driver.")
        is_home = port.network_id == home
        interface = _interface_spec(tree, f"eth{number}", port, network, is_home=is_home)
        interfaces.append(msgspec.structs.replace(interface, vips=vips) if is_home else interface)
    vrrp = decide_vrrp(tree.load_balancer, amphora, others)
    return SandboxSpec(
        amphora_id=amphora.id,
        load_balancer_id=tree.load_balancer.id,
        interfaces=tuple(interfaces),
        limits=limits,
        vrrp=vrrp,
        handed_over_by=decide_handover(tree.load_balancer, amphora, others) if with_vips else (),
        has_lifeline=vrrp is None or amphora.role in PRIORITIES,
    )


def _interface_spec(tree: Tree, name: str, port: Port, network: Network, *, is_home: bool) -> InterfaceSpec:
    subnets = {subnet.id: subnet for subnet in network.subnets}
    addresses = []
    for place in port.addresses:
        subnet = subnets.get(place.subnet_id)
        if subnet is None:
            raise Transient("network-unknown", f"Subnet {place.subnet_id} is not known to the network driver.")
        addresses.append(f"{place.address}/{ipaddress.ip_network(subnet.cidr).prefixlen}")
    gateways: dict[int, str] = {}
    for vip in list_vips(tree.load_balancer) if is_home else ():
        subnet = subnets.get(vip.subnet_id or "")
        if subnet is not None and subnet.gateway_ip:
            gateways.setdefault(subnet.ip_version, subnet.gateway_ip)
    return InterfaceSpec(
        name=name,
        network_id=network.id,
        attachment=network.attachment,
        mtu=network.mtu,
        mac_address=port.mac_address,
        addresses=tuple(addresses),
        gateways=tuple(gateways.values()),
    )
