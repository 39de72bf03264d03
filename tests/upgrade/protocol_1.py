"""The structs of protocol 1, as they were before there was another one. Never changed: old agents know just these."""

import enum
import hashlib
from typing import Any, Literal

import msgspec


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    device: str
    create: bool = False
    host_addresses: tuple[str, ...] = ()


class Route(msgspec.Struct, frozen=True, kw_only=True):
    destination: str
    gateway: str


class InterfaceSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    network_id: str
    attachment: Attachment
    mtu: int
    mac_address: str
    addresses: tuple[str, ...]
    vips: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()


class LimitsSpec(msgspec.Struct, frozen=True, kw_only=True):
    memory_mib: int
    file_descriptors: int
    cpu_percent: int
    max_connections: int


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    amphora_id: str
    load_balancer_id: str
    interfaces: tuple[InterfaceSpec, ...]
    limits: LimitsSpec

    def digest(self) -> str:
        return compute_digest(self)


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    text: str


class Server(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    address: str
    port: int
    weight: int
    enabled: bool
    options: str = ""
    backup: bool = False
    check_address: str | None = None
    check_port: int | None = None
    checked: bool = False
    checking: bool = True


class ServersPart(msgspec.Struct, frozen=True, kw_only=True, tag="servers"):
    backend: str
    dynamic: bool
    dynamic_cookies: bool = False
    servers: tuple[Server, ...] = ()


class ListPart(msgspec.Struct, frozen=True, kw_only=True, tag="list"):
    name: str
    entries: tuple[str, ...]


class FilePart(msgspec.Struct, frozen=True, kw_only=True, tag="file"):
    name: str
    digest: str
    kind: Literal["certificate", "authorities", "revocations"] = "certificate"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    parts: tuple[TextPart | ServersPart | ListPart | FilePart, ...]

    def digest(self) -> str:
        return compute_digest(self)


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    agent_version: str
    engine_versions: dict[str, str]
    amphora_count: int
    amphora_limit: int


class SandboxRequest(msgspec.Struct, frozen=True, kw_only=True):
    epoch: int
    sandbox: SandboxSpec
    heartbeat_key: bytes


class ConfigurationRequest(msgspec.Struct, frozen=True, kw_only=True):
    generation: int
    epoch: int
    haproxy: Document | None
    contents: dict[str, bytes] = {}


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    slug: str
    sentence: str
    since: str | None = None
    generation: int | None = None


class AmphoraObserved(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    load_balancer_id: str
    epoch: int
    generation: int
    sandbox_digest: str
    configuration_digest: str
    haproxy_running: bool
    reason: Reason | None = None


class AppliedConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    means: str
    why: str = ""


class ListenerState(enum.StrEnum):
    OPEN = "open"
    FULL = "full"
    STOP = "stop"


class MemberState(enum.StrEnum):
    UP = "up"
    DOWN = "down"
    DRAIN = "drain"
    MAINT = "maint"
    NO_CHECK = "no_check"


class ListenerObserved(msgspec.Struct, frozen=True, array_like=True):
    id: str
    status: ListenerState
    active_connections: int = 0
    total_connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    request_errors: int = 0


class MemberObserved(msgspec.Struct, frozen=True, array_like=True):
    pool_id: str
    member_id: str
    state: MemberState
    check: str = ""
    code: int | None = None
    text: str = ""
    since_s: float = 0.0


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    amphora_id: str
    haproxy_running: bool
    listeners: tuple[ListenerObserved, ...]
    members: tuple[MemberObserved, ...]
    process: int = 0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    accepted: bool
    words: str = ""


class FaultKind(enum.StrEnum):
    TRANSIENT = "transient"
    LASTING = "lasting"
    LOST_CLAIM = "lost-claim"
    MALFORMED = "malformed"


class AgentFault(msgspec.Struct, frozen=True, kw_only=True):
    kind: FaultKind
    slug: str
    sentence: str


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    version: int = 1
    amphora_id: str
    load_balancer_id: str
    boot: int
    sequence: int
    sent_at: float
    generation: int
    epoch: int
    part: int = 0
    parts: int = 1
    haproxy_running: bool
    listeners: tuple[ListenerObserved, ...] = ()
    members: tuple[MemberObserved, ...] = ()
    process: int = 0


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What its agents kept in `<data_dir>/amphorae/<id>/record.json`."""

    sandbox: SandboxSpec
    epoch: int
    is_built: bool = False
    generation: int = 0
    document: Document | None = None


def compute_digest(message: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(message, order="deterministic")).hexdigest()[:32]
