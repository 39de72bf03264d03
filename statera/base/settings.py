"""The configuration: one TOML file, then environment variables, into typed frozen structs.

Every option has its unit and meaning in its description; `statera config show` and `docs/configuration.md` print
them from here. An environment variable `STATERA_<SECTION>__<OPTION>` overrides one option with a TOML value, or
plain text for a text option: `STATERA_API__PORT=9999`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from statera.base.errors import Lasting
from statera.base.option_faults import describe_fault
from statera.base.secret import Secret

ENVIRONMENT_PREFIX = "STATERA_"
DEFAULT_PATHS = (Path("/etc/statera/statera.toml"),)

DATABASE_URL = re.compile(r"$|postgres(ql)?(\+psycopg)?://")

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: a name that no option has stops the start."""


class DatabaseUrl(Secret[str]):
    """Where a PostgreSQL is; it may hold a password. Raises `ValueError` for the URL of something else."""

    __slots__ = ()

    def __init__(self, value: str = "") -> None:
        if not DATABASE_URL.match(value):
            raise ValueError("Expected a URL such as `postgresql://user@host/db`")
        super().__init__(value)


class DatabaseSettings(Section, frozen=True, kw_only=True):
    url: Annotated[
        DatabaseUrl,
        Meta(description="PostgreSQL 14+ URL (`postgresql://user@host/db`); empty: `statera up` runs a private one."),
    ] = DatabaseUrl()
    pool_size: Annotated[int, Meta(ge=1, le=200, description="Connections each process keeps at most.")] = 8
    pooled: Annotated[bool, Meta(description="`url` leads to PgBouncer, or its like, in transaction mode.")] = False
    direct_url: Annotated[
        DatabaseUrl,
        Meta(description="With `pooled`: URL past the pooler, so that workers hear of edits; empty: they poll."),
    ] = DatabaseUrl()
    os_user: Annotated[
        str, Meta(description="Unprivileged system user that runs the private PostgreSQL when Statera is root.")
    ] = "postgres"
    bin_dir: Annotated[str, Meta(description="Folder of `initdb` and `postgres`; empty: found by itself.")] = ""

    @property
    def is_private(self) -> bool:
        """Say whether `statera up` runs the database."""
        return not self.url.reveal()


_CIPHERS = (
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)
_VERSIONS = ("TLSv1.2", "TLSv1.3")
_ALPN = ("h2", "http/1.1", "http/1.0")


class TlsSettings(Section, frozen=True, kw_only=True):
    allow_terminated_listeners: Annotated[bool, Meta(description="Accept listeners of TERMINATED_HTTPS.")] = True
    listener_ciphers: Annotated[str, Meta(description="Default of listeners, as OpenSSL lists them.")] = _CIPHERS
    listener_versions: Annotated[tuple[str, ...], Meta(description="Default of listeners.")] = _VERSIONS
    listener_alpn_protocols: Annotated[tuple[str, ...], Meta(description="Default of listeners.")] = _ALPN
    pool_ciphers: Annotated[str, Meta(description="Default of pools with TLS, as OpenSSL lists them.")] = _CIPHERS
    pool_versions: Annotated[tuple[str, ...], Meta(description="Default of pools with TLS.")] = _VERSIONS
    pool_alpn_protocols: Annotated[tuple[str, ...], Meta(description="Default of pools with TLS.")] = _ALPN
    cipher_prohibit_list: Annotated[tuple[str, ...], Meta(description="Ciphers that nobody may ask for.")] = ()
    minimum_version: Annotated[
        Literal["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"], Meta(description="Least version that anybody may ask for.")
    ] = "TLSv1.2"


class ApiSettings(Section, frozen=True, kw_only=True):
    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="TCP port to listen on.")] = 9876
    processes: Annotated[int, Meta(ge=1, le=64, description="API processes that share the port.")] = 1
    base_uri: Annotated[str, Meta(description="Scheme and host to use in links; empty: those of the request.")] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Addresses and networks of proxies whose `X-Forwarded-For` says where clients are."),
    ] = ("127.0.0.1", "::1")
    max_body_bytes: Annotated[Count, Meta(description="Largest request body, in bytes.")] = 114_688
    pagination_max_limit: Annotated[Count, Meta(description="Most objects in one page of a list.")] = 1000
    strict_immutable: Annotated[
        bool, Meta(description="Answer 409 while a load balancer is PENDING, as the reference service does.")
    ] = False
    healthcheck_enabled: Annotated[bool, Meta(description="Serve `/healthcheck`.")] = False
    reserved_addresses: Annotated[tuple[str, ...], Meta(description="Addresses that no member may have.")] = (
        "169.254.169.254",
    )
    allow_ping_health_monitors: Annotated[bool, Meta(description="Accept health monitors of type PING.")] = True
    udp_connect_min_interval_health_monitor: Annotated[
        int, Meta(ge=1, description="Least `delay` of UDP-CONNECT health monitors, in seconds.")
    ] = 3
    allow_prometheus_listeners: Annotated[bool, Meta(description="Accept listeners of protocol PROMETHEUS.")] = True
    timeout_client_data: Annotated[int, Meta(ge=0, description="Default of listeners, in milliseconds.")] = 50_000
    timeout_member_connect: Annotated[int, Meta(ge=0, description="Default of listeners, in milliseconds.")] = 5_000
    timeout_member_data: Annotated[int, Meta(ge=0, description="Default of listeners, in milliseconds.")] = 50_000
    timeout_tcp_inspect: Annotated[int, Meta(ge=0, description="Default of listeners, in milliseconds.")] = 0
    tls: TlsSettings = TlsSettings()


class UserSettings(Section, frozen=True, kw_only=True):
    project_id: Annotated[str, Meta(max_length=36, description="Project the user acts in.")]
    roles: Annotated[tuple[str, ...], Meta(description="Roles: `reader`, `member`, `admin`.")] = ("member", "reader")


class KeystoneSettings(Section, frozen=True, kw_only=True):
    auth_url: Annotated[str, Meta(description="URL of the Identity API v3, as Statera reaches it.")] = ""
    public_url: Annotated[str, Meta(description="URL of it that a 401 tells clients; empty: `auth_url`.")] = ""
    username: Annotated[str, Meta(description="Service user, who may validate tokens.")] = ""
    password: Annotated[Secret[str], Meta(description="Password of the service user.")] = Secret("")
    user_domain_name: Annotated[str, Meta(description="Domain of the service user.")] = "Default"
    project_name: Annotated[str, Meta(description="Project of the service user; empty: the whole system.")] = "service"
    project_domain_name: Annotated[str, Meta(description="Domain of that project.")] = "Default"
    application_credential_id: Annotated[
        str, Meta(description="Application credential to use in place of user, password and project.")
    ] = ""
    application_credential_secret: Annotated[Secret[str], Meta(description="Secret of that credential.")] = Secret("")
    ca_file: Annotated[str, Meta(description="CA certificates that sign it, PEM; empty: those of the system.")] = ""
    timeout_s: Annotated[Seconds, Meta(description="Longest wait for its answer, in seconds.")] = 10.0
    cache_s: Annotated[
        float,
        Meta(ge=0, description="Seconds a valid token is not asked for again; so late a revocation is noticed."),
    ] = 60.0
    refused_per_minute: Annotated[
        Count,
        Meta(description="Tokens from one address (IPv6: one /64) that it refuses in a minute; then 429."),
    ] = 300


class IdentitySettings(Section, frozen=True, kw_only=True):
    mode: Annotated[
        Literal["none", "basic", "keystone"],
        Meta(description="`none`: everybody is admin; `basic`: HTTP basic with a file; `keystone`: tokens."),
    ] = "none"
    policy_file: Annotated[
        str, Meta(description="File of oslo.policy, YAML or JSON, that overrides who may do what; empty: none.")
    ] = ""
    legacy_roles: Annotated[
        bool, Meta(description="Let in who has an old role, such as `load-balancer_member`, as well.")
    ] = False
    keystone: KeystoneSettings = KeystoneSettings()
    htpasswd_file: Annotated[str, Meta(description="Lines `user:bcrypt-hash`, for `basic`.")] = ""
    users: Annotated[dict[str, UserSettings], Meta(description="Project and roles of each user, for `basic`.")] = {}
    failed_logins_per_minute: Annotated[
        Count, Meta(description="Wrong passwords of one user that are looked at in a minute, for `basic`.")
    ] = 10
    default_project_id: Annotated[str, Meta(max_length=36, description="Project of everybody in mode `none`.")] = (
        "00000000000000000000000000000000"
    )


Quota = Annotated[int, Meta(ge=-1, le=2_000_000_000)]


class QuotaSettings(Section, frozen=True, kw_only=True):
    loadbalancer: Annotated[Quota, Meta(description="Load balancers a project may have by default; -1: no limit.")] = -1
    listener: Annotated[Quota, Meta(description="Listeners, likewise.")] = -1
    pool: Annotated[Quota, Meta(description="Pools, likewise.")] = -1
    member: Annotated[Quota, Meta(description="Members, likewise.")] = -1
    healthmonitor: Annotated[Quota, Meta(description="Health monitors, likewise.")] = -1
    l7policy: Annotated[Quota, Meta(description="L7 policies, likewise.")] = -1
    l7rule: Annotated[Quota, Meta(description="Rules of L7 policies, likewise.")] = -1


class SubnetSettings(Section, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=255, description="Name shown to tenants.")]
    cidr: Annotated[str, Meta(description="IPv4 or IPv6 network, such as `10.0.0.0/24`.")]
    id: Annotated[str, Meta(description="UUID; empty: derived from the names.")] = ""
    gateway: Annotated[str, Meta(description="Default gateway of sandboxes; empty: none.")] = ""
    allocation: Annotated[
        tuple[str, ...], Meta(description="Ranges `first-last` to allocate from; empty: all but the gateway.")
    ] = ()


class NetworkSettings(Section, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=255, description="Name shown to tenants.")]
    id: Annotated[str, Meta(description="UUID; empty: derived from the name.")] = ""
    kind: Annotated[Literal["bridge", "macvlan"], Meta(description="How hosts reach it.")] = "bridge"
    device: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9_.-]{1,15}$", description="Bridge, or parent interface of macvlan, on each host."),
    ]
    create: Annotated[bool, Meta(description="Make the bridge when it is missing.")] = False
    host_addresses: Annotated[
        tuple[str, ...], Meta(description="Addresses with prefix length the host takes on a bridge it makes.")
    ] = ()
    uplink: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_.-]{0,15}$",
            description="Interface to the outside that becomes a port of a bridge it makes; empty: none.",
        ),
    ] = ""
    mtu: Annotated[int, Meta(ge=576, le=65535, description="Bytes.")] = 1500
    subnets: tuple[SubnetSettings, ...] = ()


class HostSettings(Section, frozen=True, kw_only=True):
    name: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Name of the host, as in its certificate.")
    ]
    url: Annotated[str, Meta(pattern=r"^https://", description="Where its agent answers.")]
    zone: Annotated[
        str, Meta(max_length=255, description="Compute zone it is in, which availability zones name; empty: none.")
    ] = ""


class NetworkDriverSettings(Section, frozen=True, kw_only=True):
    driver: Annotated[
        Literal["local", "noop"],
        Meta(description="`local`: the configured networks; `noop`: any network, subnet and port id is accepted."),
    ] = "local"


class ComputeSettings(Section, frozen=True, kw_only=True):
    driver: Annotated[
        Literal["local", "noop"],
        Meta(description="`local`: sandboxes on hosts with agents; `noop`: nothing is built, nor measured."),
    ] = "local"
    hosts: Annotated[
        tuple[HostSettings, ...], Meta(description="Hosts that run `statera agent`; empty: the one of `statera up`.")
    ] = ()
    memory_mib: Annotated[int, Meta(ge=32, description="Memory limit of one sandbox, in MiB.")] = 256
    cpu_percent: Annotated[int, Meta(ge=0, description="CPU limit of one sandbox, percent of a core; 0: none.")] = 0
    file_descriptors: Annotated[int, Meta(ge=256, description="Descriptor limit of one HAProxy.")] = 16_384
    spares_per_host: Annotated[
        int, Meta(ge=0, le=100, description="Sandboxes that stand ready on each host, for load balancers to come.")
    ] = 0
    spares_network: Annotated[
        str,
        Meta(description="Name of the network on which a spare has its link already; empty: the first of `networks`."),
    ] = ""
    agent_timeout_s: Annotated[Seconds, Meta(description="Longest wait for an agent's answer, in seconds.")] = 10.0


class AgentSettings(Section, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Name of this host.")] = "local"
    zone: Annotated[str, Meta(max_length=255, description="Its compute zone, while `compute.hosts` is empty.")] = ""
    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="TCP port to listen on, TLS with client certificates.")] = 9443
    haproxy: Annotated[str, Meta(description="The HAProxy program.")] = "haproxy"
    nginx: Annotated[str, Meta(description="The nginx program, with its stream module; it serves UDP.")] = "nginx"
    ipvs: Annotated[
        bool,
        Meta(description="Carry UDP and SCTP by the kernel's IPVS where its module is loaded; else nginx does UDP."),
    ] = True
    haproxy_user: Annotated[
        str, Meta(description="System user of sandboxes that were built by versions in which all of them shared one.")
    ] = "haproxy"
    first_user_id: Annotated[
        int,
        Meta(ge=1000, le=4_294_000_000, description="First of the user ids of sandboxes; no account may have one."),
    ] = 1_879_048_192
    user_ids: Annotated[
        int, Meta(ge=1, le=900_000, description="How many there are; each sandbox on this host has one of its own.")
    ] = 65_536
    amphora_limit: Annotated[Count, Meta(description="Most sandboxes on this host.")] = 1000
    heartbeat_interval_s: Annotated[Seconds, Meta(description="Seconds between heartbeats of an amphora.")] = 3.0
    drain_s: Annotated[
        Seconds,
        Meta(description="Seconds a member that was removed, or has weight 0, may take to finish its connections."),
    ] = 300.0
    heartbeat_targets: Annotated[
        tuple[str, ...], Meta(description="`host:port` of health processes; empty: the one of `statera up`.")
    ] = ()


class SecretsSettings(Section, frozen=True, kw_only=True):
    driver: Annotated[
        Literal["local", "barbican", "noop"],
        Meta(
            description="`local`: Statera keeps certificates and keys itself, sealed; `barbican`: Barbican does; "
            "`noop`: one made-up certificate stands behind every reference."
        ),
    ] = "local"
    key_file: Annotated[
        str, Meta(description="Key that seals the secrets of driver `local`; empty: one that it makes in data_dir.")
    ] = ""
    barbican_url: Annotated[
        str, Meta(description="URL of Barbican; our own user for it is that of `identity.keystone`.")
    ] = ""
    barbican_ca_file: Annotated[
        str, Meta(description="CA certificates that sign it, PEM; empty: those of the system.")
    ] = ""
    barbican_timeout_s: Annotated[Seconds, Meta(description="Longest wait for its answer, in seconds.")] = 10.0


class ReconcileSettings(Section, frozen=True, kw_only=True):
    slots: Annotated[int, Meta(ge=1, le=256, description="Load balancers one worker works on at a time.")] = 8
    lease_s: Annotated[Seconds, Meta(description="Seconds a claim lasts unless renewed.")] = 15.0
    poll_s: Annotated[Seconds, Meta(description="Seconds between looks for due work.")] = 1.0
    recheck_s: Annotated[Seconds, Meta(description="Seconds between re-checks of a settled load balancer.")] = 180.0
    error_after_s: Annotated[Seconds, Meta(description="Seconds of failed tries before the status is ERROR.")] = 60.0
    backoff_first_s: Annotated[Seconds, Meta(description="Seconds to wait after the first failed try.")] = 0.5
    backoff_most_s: Annotated[Seconds, Meta(description="Longest wait between tries, in seconds.")] = 30.0
    orphan_grace_s: Annotated[Seconds, Meta(description="Age in seconds before something unknown is collected.")] = (
        120.0
    )
    drain_at_once: Annotated[Count, Meta(description="Load balancers that move at a time while hosts are drained.")] = (
        10
    )
    events_per_load_balancer: Annotated[Count, Meta(description="Events kept of each load balancer.")] = 200
    event_age_most_s: Annotated[Seconds, Meta(description="Age in seconds after which an event is forgotten.")] = (
        7_776_000.0
    )
    generations_per_load_balancer: Annotated[
        Count, Meta(description="Settled generations kept of each load balancer, to roll back to.")
    ] = 20


class HealthSettings(Section, frozen=True, kw_only=True):
    host: Annotated[str, Meta(description="Address to receive heartbeats on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="UDP port to receive heartbeats on.")] = 5555
    stale_after_s: Annotated[Seconds, Meta(description="Seconds without a heartbeat before an amphora is due.")] = 12.0
    max_skew_s: Annotated[
        Seconds, Meta(description="Seconds an amphora's clock may differ; older heartbeats are taken for replays.")
    ] = 30.0
    certificate_warning_days: Annotated[
        float, Meta(ge=0, description="Days before the end of a tenant's certificate from which on it is told of.")
    ] = 30.0


class FailoverSettings(Section, frozen=True, kw_only=True):
    automatic: Annotated[bool, Meta(description="Replace amphorae that are dead for sure, without being asked.")] = True
    per_minute: Annotated[Count, Meta(description="Automatic replacements in a minute at most, in all.")] = 60
    fleet_percent: Annotated[
        float,
        Meta(gt=0, le=100, description="Percent of all amphorae replaced in ten minutes at most; ten always may be."),
    ] = 50.0
    broken_after_s: Annotated[
        Seconds, Meta(description="Seconds that a host may try to mend an amphora before it is replaced.")
    ] = 10.0


class CertificateSettings(Section, frozen=True, kw_only=True):
    lifetime_s: Annotated[
        Seconds, Meta(description="Lifetime of Statera's own certificates, in seconds; renewed after two thirds.")
    ] = 31_536_000.0
    authority_lifetime_s: Annotated[
        Seconds, Meta(description="Lifetime of its authority, in seconds; the next one is made after two thirds.")
    ] = 315_360_000.0


class LogSettings(Section, frozen=True, kw_only=True):
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least level to log.")] = "info"
    format: Annotated[Literal["text", "json"], Meta(description="`text` for people, `json` for machines.")] = "text"


class MetricsSettings(Section, frozen=True, kw_only=True):
    enabled: Annotated[bool, Meta(description="Serve what the processes of this machine count to Prometheus.")] = True
    host: Annotated[str, Meta(description="Address of its page `/metrics`; anybody who reaches it may read.")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, Meta(description="TCP port of the page, one for all processes of this machine.")] = 9464


class TraceSettings(Section, frozen=True, kw_only=True):
    endpoint: Annotated[
        str,
        Meta(
            description="OpenTelemetry collector, OTLP over HTTP (`http://host:4318/v1/traces`); empty: no traces. "
            "Needs the extra `otel`."
        ),
    ] = ""


class Settings(Section, frozen=True, kw_only=True):
    data_dir: Annotated[str, Meta(description="Folder of the private database, certificates and sandboxes' files.")] = (
        "/var/lib/statera"
    )
    run_dir: Annotated[str, Meta(description="Folder of sockets and pid files; a short path, on a tmpfs.")] = (
        "/run/statera"
    )
    control_user: Annotated[
        str,
        Meta(description="Unprivileged system user of API, worker and health when `statera up` is root; empty: root."),
    ] = "statera"
    watchdog_s: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds without a sign of life after which `statera up` kills one of its processes and starts "
            "it again; 0: never, for a debugger.",
        ),
    ] = 60.0
    watchdog_start_s: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds that one of them may take from its start to its first sign of life; 0: as long as it "
            "likes.",
        ),
    ] = 300.0
    database: DatabaseSettings = DatabaseSettings()
    api: ApiSettings = ApiSettings()
    identity: IdentitySettings = IdentitySettings()
    quotas: QuotaSettings = QuotaSettings()
    networks: tuple[NetworkSettings, ...] = ()
    network: NetworkDriverSettings = NetworkDriverSettings()
    compute: ComputeSettings = ComputeSettings()
    secrets: SecretsSettings = SecretsSettings()
    agent: AgentSettings = AgentSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    health: HealthSettings = HealthSettings()
    failover: FailoverSettings = FailoverSettings()
    certificates: CertificateSettings = CertificateSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    traces: TraceSettings = TraceSettings()


class BadSettings(Lasting):
    """The configuration cannot be used; the sentence names the option."""

    def __init__(self, sentence: str) -> None:
        super().__init__("configuration-invalid", sentence)


def load_settings(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the file (None: the default place, if it exists), apply the environment, check types and ranges.

    Raises `BadSettings` naming the file and the option.
    """
    environment = os.environ if environment is None else environment
    found = path or next((candidate for candidate in DEFAULT_PATHS if candidate.exists()), None)
    values: dict[str, Any] = {}
    if found is not None:
        try:
            values = tomllib.loads(found.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
            raise BadSettings(f"Configuration file {found} cannot be read: {error}") from error
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and name != f"{ENVIRONMENT_PREFIX}CONFIG":
            _override(values, name, text)
    return convert_settings(values, source=str(found) if found else "the environment")


def convert_settings(values: Mapping[str, Any], *, source: str) -> Settings:
    """Turn plain values into `Settings`. Raises `BadSettings` naming the option."""
    try:
        return msgspec.convert(values, Settings, dec_hook=_read_secret)
    except msgspec.ValidationError as error:
        option, what = describe_fault(str(error), Settings)
        end = "" if what.endswith("?") else "."
        raise BadSettings(f"Option {option} in {source} is wrong: {what}{end}") from error


def _read_secret(kind: type, value: Any) -> Any:
    if not _is_secret(kind):
        raise NotImplementedError(f"no option is a {kind}")
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


def _is_secret(kind: Any) -> bool:
    plain = get_origin(kind) or kind
    return isinstance(plain, type) and issubclass(plain, Secret)


def _override(values: dict[str, Any], name: str, text: str) -> None:
    *sections, option = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    target: dict[str, Any] = values
    hints: Any = Settings
    for section in sections:
        hints = _field_type(hints, section, name)
        existing = target.setdefault(section, {})
        if not isinstance(existing, dict):
            raise BadSettings(f"Environment variable {name} names {section}, which is not a section.")
        target = existing
    wanted = _field_type(hints, option, name)
    if wanted is str or get_origin(wanted) is Literal or _is_secret(wanted):
        target[option] = text
        return
    try:
        target[option] = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"Environment variable {name} is not a TOML value: {text!r}.") from error


def _field_type(section: Any, field: str, name: str) -> Any:
    hints = get_type_hints(section) if isinstance(section, type) else {}
    if field not in hints:
        raise BadSettings(f"Environment variable {name} names no option: {field} is unknown.")
    return hints[field]


def describe_options(section: type = Settings, prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Return (option, type, default, meaning) of every option, sections in order, for `config show` and the docs."""
    rows: list[tuple[str, str, str, str]] = []
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        hint = hints[field.name]
        bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        item = get_args(bare)[0] if get_origin(bare) is tuple else None
        if isinstance(bare, type) and issubclass(bare, Section):
            rows += describe_options(bare, f"{prefix}{field.name}.")
        elif isinstance(item, type) and issubclass(item, Section):
            rows += describe_options(item, f"{prefix}{field.name}[].")
        else:
            metas = [extra for extra in get_args(hint)[1:] if isinstance(extra, Meta)]
            meaning = next((meta.description for meta in reversed(metas) if meta.description), "")
            factory = field.default_factory
            value = field.default if factory is msgspec.NODEFAULT else factory()
            encoded = msgspec.json.encode(value, enc_hook=_show_default).decode() if not field.required else ""
            default = encoded or "required"
            rows.append((f"{prefix}{field.name}", _type_name(bare), default, meaning))
    return rows


def _show_default(value: Any) -> str:
    assert isinstance(value, Secret)
    return str(value.reveal())


def _type_name(bare: Any) -> str:
    if _is_secret(bare):
        return "text"
    if get_origin(bare) is Annotated:
        return _type_name(get_args(bare)[0])
    if get_origin(bare) is Literal:
        return " | ".join(f'"{choice}"' for choice in get_args(bare))
    if get_origin(bare) is tuple:
        return f"list of {_type_name(get_args(bare)[0])}"
    if get_origin(bare) is dict:
        return "table"
    return {"str": "text", "int": "integer", "float": "number", "bool": "boolean"}.get(bare.__name__, "table")
