"""The spec of one amphora: what `render/` turns into configuration text, and what an agent builds a sandbox to.

Already decided when it gets here: only enabled listeners, only members that are wanted, timeouts filled in, limits
derived. Text from tenants is still raw; `render/` alone makes tokens of it. Times are milliseconds.
"""

import hashlib
from typing import Annotated

import msgspec

from statera.base.secret import Secret
from statera.model.document import Document
from statera.model.engines import EngineName
from statera.model.enums import (
    Algorithm,
    ClientAuthentication,
    HttpMethod,
    L7Action,
    L7CompareType,
    L7RuleType,
    ListenerProtocol,
    MonitorType,
    PersistenceType,
    PoolProtocol,
)
from statera.model.network import Attachment
from statera.model.protocol import since
from statera.model.vrrp import VrrpSpec


class MonitorSpec(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    type: MonitorType
    interval_ms: int
    timeout_ms: int
    rise: int
    fall: int
    http_method: HttpMethod = HttpMethod.GET
    url_path: str = "/"
    expected_codes: str = "200"
    http_version: float | None = None
    domain_name: str | None = None
    expected_body: str | None = None
    enabled: bool = True


class MemberSpec(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    address: str
    port: int
    weight: int
    backup: bool = False
    enabled: bool = True
    monitor_address: str | None = None
    monitor_port: int | None = None


class PersistenceSpec(msgspec.Struct, frozen=True, kw_only=True):
    type: PersistenceType
    cookie_name: str | None = None
    timeout_s: int | None = None
    """Of datagrams only, as the next: how long a client keeps its member."""
    granularity: str | None = None
    """A netmask: clients that it makes equal meet the same member."""


class PoolTlsSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How members are spoken to. Files are named by the digest of their content."""

    certificate: str | None = None
    authorities: str | None = None
    """None: members are not verified."""
    revocations: str | None = None
    versions: tuple[str, ...]
    ciphers: str
    alpn_protocols: tuple[str, ...] = ()


class ListenerTlsSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How clients are spoken to. Files are named by the digest of their content."""

    certificates: tuple[str, ...]
    """The default one first."""
    client_authentication: ClientAuthentication = ClientAuthentication.NONE
    authorities: str | None = None
    revocations: str | None = None
    versions: tuple[str, ...]
    ciphers: str
    alpn_protocols: tuple[str, ...] = ()
    hsts: str | None = None
    """The value of the header."""


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    protocol: PoolProtocol
    algorithm: Algorithm
    enabled: bool = True
    members: tuple[MemberSpec, ...] = ()
    monitor: MonitorSpec | None = None
    persistence: PersistenceSpec | None = None
    tls: PoolTlsSpec | None = None


class L7RuleSpec(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    type: L7RuleType
    compare_type: L7CompareType
    key: str | None = None
    value: str
    invert: bool = False


class L7PolicySpec(msgspec.Struct, frozen=True, kw_only=True):
    """One policy that has an effect."""

    id: str
    action: L7Action
    target: str = ""
    """The pool's id, the URL or the prefix."""
    http_code: int = 302
    rules: tuple[L7RuleSpec, ...]
    """Those that a request must match, at least one."""


class ListenerSpec(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    protocol: ListenerProtocol
    engine: EngineName = EngineName.HAPROXY
    port: int
    addresses: tuple[str, ...]
    """The VIPs it binds."""
    max_connections: int
    """Already within the sandbox's limits."""
    timeout_client_ms: int
    timeout_connect_ms: int
    timeout_server_ms: int
    timeout_tcp_inspect_ms: int = 0
    allowed_cidrs: tuple[str, ...] = ()
    """Empty allows all."""
    insert_headers: tuple[str, ...] = ()
    """Names of the headers that are switched on, sorted."""
    pool_id: str | None = None
    tls: ListenerTlsSpec | None = None
    l7policies: tuple[L7PolicySpec, ...] = ()
    """In the order of evaluation."""

    def pool_ids(self) -> tuple[str, ...]:
        """Return the pools that serve it, each once, the default pool first."""
        redirected = [policy.target for policy in self.l7policies if policy.action == L7Action.REDIRECT_TO_POOL]
        return tuple(dict.fromkeys([self.pool_id, *redirected] if self.pool_id else redirected))


class LimitsSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What one sandbox may use. `max_connections` of HAProxy follows from memory and descriptors, not from the API."""

    memory_mib: int
    file_descriptors: int
    cpu_percent: int
    """Of one core; 0 means no limit."""
    max_connections: int


class PeersSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Amphorae that tell each other which client has which member."""

    address: str
    """Its own, on the VIP network."""
    others: dict[str, str]
    """Address by amphora."""


class AmphoraSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `render/` needs for one amphora."""

    amphora_id: str
    load_balancer_id: str
    limits: LimitsSpec
    peers: PeersSpec | None = None
    listeners: tuple[ListenerSpec, ...] = ()
    pools: tuple[PoolSpec, ...] = ()
    """Each pool that some listener of this spec uses, per id once."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    destination: str
    """CIDR."""
    gateway: str


class InterfaceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One interface inside a sandbox."""

    name: str
    """`eth0` is on the VIP network."""
    network_id: str
    attachment: Attachment
    mtu: int
    mac_address: str
    addresses: tuple[str, ...]
    """Its own addresses with prefix length."""
    vips: tuple[str, ...] = ()
    """Addresses without prefix length that it carries for clients and announces."""
    gateways: tuple[str, ...] = ()
    """Default gateways, at most one per address family."""
    routes: tuple[Route, ...] = ()


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent builds for one amphora. Equal specs have equal digests, also in versions with more attributes."""

    amphora_id: str
    load_balancer_id: str
    interfaces: tuple[InterfaceSpec, ...]
    limits: LimitsSpec
    vrrp: Annotated[VrrpSpec | None, since(2, "a VIP that two amphorae share (ACTIVE_STANDBY)")] = None
    """How it shares the VIPs with others; None: they are its own, or it has none."""
    handed_over_by: Annotated[tuple[str, ...], since(2)] = ()
    """Addresses of amphorae that are giving the VIPs up to this one, and still serve the connections they have."""
    has_lifeline: Annotated[bool, since(3, "a change of topology without a pause")] = True
    """Whether it gives shared VIPs up when HAProxy dies: one that shares them only meanwhile was started without."""

    def digest(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:32]


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent brings live, with the fence: an agent refuses one of an older epoch."""

    generation: int
    epoch: int
    haproxy: Document | None
    """None when no listener needs an engine; the agent then stops them all."""
    contents: dict[str, Secret[bytes]] = {}
    """Of the files that the document names, by digest. They stay in memory on both sides."""
    digest: str = ""
    """Of the document, as whoever made it computes it; "" for a controller that does not tell."""
