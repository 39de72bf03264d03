"""What a tenant wants: a load balancer and everything below it, as frozen structs.

One struct per resource serves the API, the store and the planner. The attributes that every resource has are in
`Resource`; the parent's id is a plain attribute, and `Tree` holds one load balancer's resources together.
`deleting` says that the tenant wants the object gone; it outlives any change of `provisioning_status`.
Times are aware UTC. Timeouts of listeners are milliseconds, those of monitors seconds, as in the API.
"""

import datetime as dt

import msgspec

from statera.base.reason import Reason
from statera.model.enums import (
    Algorithm,
    ClientAuthentication,
    HttpMethod,
    L7Action,
    L7CompareType,
    L7RuleType,
    ListenerProtocol,
    MonitorType,
    OperatingStatus,
    PersistenceType,
    PoolProtocol,
    ProvisioningStatus,
    Topology,
)


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes that all resources share; L7 rules have no name of their own."""

    id: str
    project_id: str
    name: str = ""
    admin_state_up: bool = True
    tags: tuple[str, ...] = ()
    provisioning_status: ProvisioningStatus = ProvisioningStatus.PENDING_CREATE
    operating_status: OperatingStatus = OperatingStatus.OFFLINE
    reason: Reason | None = None
    """Why the object is in ERROR, OFFLINE or DEGRADED, or what its pending change waits for."""
    changed_at_generation: int = 0
    deleting: bool = False
    created_at: dt.datetime
    updated_at: dt.datetime | None = None


class Vip(msgspec.Struct, frozen=True, kw_only=True):
    """One address that clients connect to. All VIPs of a load balancer sit on one port of one network."""

    address: str
    subnet_id: str | None
    network_id: str
    port_id: str


class LoadBalancer(Resource, frozen=True, kw_only=True):
    description: str = ""
    vip: Vip
    additional_vips: tuple[Vip, ...] = ()
    owns_vip_port: bool = True
    """False when the tenant named an existing port, which then outlives the load balancer."""
    provider: str = "amphora"
    flavor_id: str | None = None
    availability_zone: str | None = None
    compute_zone: str | None = None
    """Where its amphorae may be: what its availability zone said when it was created."""
    vip_qos_policy_id: str | None = None
    topology: Topology = Topology.SINGLE
    amphorae_to_replace: tuple[str, ...] = ()
    """Amphorae whose place others shall take; ids that are gone mean nothing."""
    certificate_ends: dict[str, dt.datetime] = {}
    """When each certificate that is served with ends, by reference, as the last pass has read it."""
    generation: int = 1
    observed_generation: int = 0


class Listener(Resource, frozen=True, kw_only=True):
    load_balancer_id: str
    description: str = ""
    protocol: ListenerProtocol
    protocol_port: int
    default_pool_id: str | None = None
    connection_limit: int | None = -1
    timeout_client_data: int = 50_000
    timeout_member_connect: int = 5_000
    timeout_member_data: int = 50_000
    timeout_tcp_inspect: int = 0
    allowed_cidrs: tuple[str, ...] | None = None
    insert_headers: dict[str, str] = {}
    default_tls_container_ref: str | None = None
    sni_container_refs: tuple[str, ...] = ()
    client_authentication: ClientAuthentication = ClientAuthentication.NONE
    client_ca_tls_container_ref: str | None = None
    client_crl_container_ref: str | None = None
    tls_ciphers: str | None = None
    tls_versions: tuple[str, ...] | None = None
    alpn_protocols: tuple[str, ...] | None = None
    hsts_max_age: int | None = None
    hsts_include_subdomains: bool = False
    hsts_preload: bool = False


class SessionPersistence(msgspec.Struct, frozen=True, kw_only=True):
    type: PersistenceType
    cookie_name: str | None = None
    persistence_timeout: int | None = None
    persistence_granularity: str | None = None


class Pool(Resource, frozen=True, kw_only=True):
    load_balancer_id: str
    description: str = ""
    protocol: PoolProtocol
    lb_algorithm: Algorithm
    session_persistence: SessionPersistence | None = None
    tls_enabled: bool = False
    """Whether the way to the members is encrypted."""
    tls_container_ref: str | None = None
    ca_tls_container_ref: str | None = None
    crl_container_ref: str | None = None
    tls_ciphers: str | None = None
    tls_versions: tuple[str, ...] | None = None
    alpn_protocols: tuple[str, ...] | None = None


class Member(Resource, frozen=True, kw_only=True):
    load_balancer_id: str
    pool_id: str
    address: str
    protocol_port: int
    weight: int | None = 1
    backup: bool = False
    subnet_id: str | None = None
    monitor_address: str | None = None
    monitor_port: int | None = None


class HealthMonitor(Resource, frozen=True, kw_only=True):
    load_balancer_id: str
    pool_id: str
    type: MonitorType
    delay: int
    timeout: int
    max_retries: int
    max_retries_down: int = 3
    http_method: HttpMethod | None = None
    url_path: str | None = None
    expected_codes: str | None = None
    http_version: float | None = None
    domain_name: str | None = None
    expected_body: str | None = None
    """Text that must occur in the answer; beyond the v2 API."""


class L7Policy(Resource, frozen=True, kw_only=True):
    """What a listener does with requests that meet all of the policy's rules."""

    load_balancer_id: str
    listener_id: str
    description: str = ""
    action: L7Action
    position: int = 1
    """Positions of one listener's policies are 1 to n, without those that are being deleted."""
    redirect_pool_id: str | None = None
    redirect_url: str | None = None
    redirect_prefix: str | None = None
    redirect_http_code: int | None = None


class L7Rule(Resource, frozen=True, kw_only=True):
    """One condition of a policy."""

    load_balancer_id: str
    l7policy_id: str
    type: L7RuleType
    compare_type: L7CompareType
    key: str | None = None
    value: str
    invert: bool = False


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """One load balancer with all below it, from one consistent snapshot, each list in creation order."""

    load_balancer: LoadBalancer
    listeners: tuple[Listener, ...] = ()
    pools: tuple[Pool, ...] = ()
    members: tuple[Member, ...] = ()
    health_monitors: tuple[HealthMonitor, ...] = ()
    l7policies: tuple[L7Policy, ...] = ()
    l7rules: tuple[L7Rule, ...] = ()

    def find_pool(self, pool_id: str) -> Pool | None:
        return next((pool for pool in self.pools if pool.id == pool_id), None)

    def find_listener(self, listener_id: str) -> Listener | None:
        return next((listener for listener in self.listeners if listener.id == listener_id), None)

    def list_members(self, pool_id: str) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.pool_id == pool_id)

    def find_health_monitor(self, pool_id: str) -> HealthMonitor | None:
        """Return the pool's monitor that is wanted; one that is being deleted no longer counts."""
        monitors = (m for m in self.health_monitors if m.pool_id == pool_id and not m.deleting)
        return next(monitors, None)

    def list_l7policies(self, listener_id: str) -> tuple[L7Policy, ...]:
        """Return a listener's policies by position; those in deletion, which hold none, come where they were."""
        found = [policy for policy in self.l7policies if policy.listener_id == listener_id]
        return tuple(sorted(found, key=lambda policy: (policy.position, policy.deleting, policy.created_at, policy.id)))

    def list_l7rules(self, l7policy_id: str) -> tuple[L7Rule, ...]:
        return tuple(rule for rule in self.l7rules if rule.l7policy_id == l7policy_id)

    def list_listeners_using(self, pool_id: str) -> tuple[Listener, ...]:
        """Return the listeners whose traffic reaches the pool: as default, or by an enabled policy that has rules."""
        redirecting = {
            policy.listener_id
            for policy in self.l7policies
            if policy.redirect_pool_id == pool_id and policy.admin_state_up and not policy.deleting
            if any(rule.l7policy_id == policy.id and not rule.deleting for rule in self.l7rules)
        }
        return tuple(
            listener for listener in self.listeners if listener.default_pool_id == pool_id or listener.id in redirecting
        )
