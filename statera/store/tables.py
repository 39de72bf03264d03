"""The schema. Columns have the names of the model structs' attributes, so rows and structs convert by name.

Nested structs (VIPs, persistence, reasons) are `jsonb`. Bookkeeping that no struct shows (`due_at`, the lease, the
epoch) stands on `load_balancers`: the row itself is the work.

Who writes anything below a load balancer locks the load balancer's row first, so no two of them can deadlock.
"""

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, INET, JSONB
from sqlalchemy.schema import SchemaItem

from statera.model.catalog import AvailabilityZone, AvailabilityZoneProfile, Flavor, FlavorProfile
from statera.model.quota import Quota
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Resource

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Uuid = sa.Uuid(as_uuid=False)
_Time = sa.DateTime(timezone=True)


def _resource(name: str, *columns: SchemaItem) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("id", _Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("admin_state_up", sa.Boolean, nullable=False),
        sa.Column("tags", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("provisioning_status", sa.Text, nullable=False),
        sa.Column("operating_status", sa.Text, nullable=False),
        sa.Column("reason", JSONB),
        # Two writers, two columns: why a change waits or failed, and why traffic fares badly. A struct shows the first
        # that is set; settling clears only the first.
        sa.Column("operating_reason", JSONB),
        sa.Column("changed_at_generation", sa.BigInteger, nullable=False),
        sa.Column("deleting", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("updated_at", _Time),
        *columns,
        sa.Index(f"ix_{name}_project", "project_id", "created_at", "id"),
        sa.Index(f"ix_{name}_created", "created_at", "id"),
    )


def _pool() -> sa.Column[str]:
    return sa.Column("pool_id", _Uuid, sa.ForeignKey("pools.id", ondelete="CASCADE"), nullable=False, index=True)


def _owner() -> sa.Column[str]:
    return sa.Column(
        "load_balancer_id", _Uuid, sa.ForeignKey("load_balancers.id", ondelete="CASCADE"), nullable=False, index=True
    )


def _tls_terms() -> tuple[sa.Column[Any], ...]:
    """Return what both sides of a TLS connection are told."""
    return (
        sa.Column("tls_ciphers", sa.Text),
        sa.Column("tls_versions", ARRAY(sa.Text)),
        sa.Column("alpn_protocols", ARRAY(sa.Text)),
    )


load_balancers = _resource(
    "load_balancers",
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("vip", JSONB, nullable=False),
    sa.Column("additional_vips", JSONB, nullable=False),
    sa.Column("owns_vip_port", sa.Boolean, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("flavor_id", _Uuid, sa.ForeignKey("flavors.id", ondelete="RESTRICT"), index=True),
    sa.Column("availability_zone", sa.Text, sa.ForeignKey("availability_zones.name", ondelete="RESTRICT"), index=True),
    sa.Column("compute_zone", sa.Text),
    sa.Column("vip_qos_policy_id", _Uuid),
    sa.Column("topology", sa.Text, nullable=False),
    sa.Column("amphorae_to_replace", ARRAY(_Uuid), nullable=False, server_default="{}"),
    sa.Column("certificate_ends", JSONB, nullable=False, server_default="{}"),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("observed_generation", sa.BigInteger, nullable=False),
    sa.Column("due_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", _Time),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failing_since", _Time),
    # Of the last edit: what the worker that does it tells its log and the agents.
    sa.Column("request_id", sa.Text, nullable=False, server_default=""),
    sa.Column("trace", sa.Text, nullable=False, server_default=""),
    sa.Index("ix_load_balancers_due", "due_at"),
)

listeners = _resource(
    "listeners",
    _owner(),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("protocol", sa.Text, nullable=False),
    sa.Column("protocol_port", sa.Integer, nullable=False),
    # Checked at commit: a listener and its pool come in one transaction, in any order.
    sa.Column(
        "default_pool_id",
        _Uuid,
        sa.ForeignKey("pools.id", ondelete="SET NULL", deferrable=True, initially="DEFERRED"),
        index=True,
    ),
    sa.Column("connection_limit", sa.BigInteger),
    sa.Column("timeout_client_data", sa.BigInteger, nullable=False),
    sa.Column("timeout_member_connect", sa.BigInteger, nullable=False),
    sa.Column("timeout_member_data", sa.BigInteger, nullable=False),
    sa.Column("timeout_tcp_inspect", sa.BigInteger, nullable=False),
    sa.Column("allowed_cidrs", ARRAY(sa.Text)),
    sa.Column("insert_headers", JSONB, nullable=False),
    sa.Column("default_tls_container_ref", sa.Text),
    sa.Column("sni_container_refs", ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("client_authentication", sa.Text, nullable=False, server_default="NONE"),
    sa.Column("client_ca_tls_container_ref", sa.Text),
    sa.Column("client_crl_container_ref", sa.Text),
    *_tls_terms(),
    sa.Column("hsts_max_age", sa.BigInteger),
    sa.Column("hsts_include_subdomains", sa.Boolean, nullable=False, server_default="false"),
    sa.Column("hsts_preload", sa.Boolean, nullable=False, server_default="false"),
    # As `model.enums.L4_TRANSPORT`; only the guard below reads it.
    sa.Column(
        "transport",
        sa.Text,
        sa.Computed("CASE WHEN protocol IN ('UDP', 'SCTP') THEN protocol ELSE 'TCP' END", persisted=True),
    ),
)
sa.Index(
    "uq_listeners_port",
    listeners.c.load_balancer_id, listeners.c.transport, listeners.c.protocol_port,
    unique=True, postgresql_where=sa.text("NOT deleting"),
)  # fmt: skip

pools = _resource(
    "pools",
    _owner(),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("protocol", sa.Text, nullable=False),
    sa.Column("lb_algorithm", sa.Text, nullable=False),
    sa.Column("session_persistence", JSONB),
    sa.Column("tls_enabled", sa.Boolean, nullable=False, server_default="false"),
    sa.Column("tls_container_ref", sa.Text),
    sa.Column("ca_tls_container_ref", sa.Text),
    sa.Column("crl_container_ref", sa.Text),
    *_tls_terms(),
)

members = _resource(
    "members",
    _owner(),
    _pool(),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("protocol_port", sa.Integer, nullable=False),
    sa.Column("weight", sa.Integer),
    sa.Column("backup", sa.Boolean, nullable=False),
    sa.Column("subnet_id", _Uuid),
    sa.Column("monitor_address", sa.Text),
    sa.Column("monitor_port", sa.Integer),
)
sa.Index(
    "uq_members_place",
    members.c.pool_id, members.c.address, members.c.protocol_port,
    unique=True, postgresql_where=sa.text("NOT deleting"),
)  # fmt: skip

health_monitors = _resource(
    "health_monitors",
    _owner(),
    _pool(),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("delay", sa.BigInteger, nullable=False),
    sa.Column("timeout", sa.BigInteger, nullable=False),
    sa.Column("max_retries", sa.Integer, nullable=False),
    sa.Column("max_retries_down", sa.Integer, nullable=False),
    sa.Column("http_method", sa.Text),
    sa.Column("url_path", sa.Text),
    sa.Column("expected_codes", sa.Text),
    sa.Column("http_version", sa.Float),
    sa.Column("domain_name", sa.Text),
    sa.Column("expected_body", sa.Text),
)
sa.Index("uq_health_monitors_pool", health_monitors.c.pool_id, unique=True, postgresql_where=sa.text("NOT deleting"))

l7policies = _resource(
    "l7policies",
    _owner(),
    sa.Column("listener_id", _Uuid, sa.ForeignKey("listeners.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    # Not unique: one statement renumbers many, and PostgreSQL would look after each row.
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column(
        "redirect_pool_id",
        _Uuid,
        sa.ForeignKey("pools.id", ondelete="SET NULL", deferrable=True, initially="DEFERRED"),
        index=True,
    ),
    sa.Column("redirect_url", sa.Text),
    sa.Column("redirect_prefix", sa.Text),
    sa.Column("redirect_http_code", sa.Integer),
)

l7rules = _resource(
    "l7rules",
    _owner(),
    sa.Column("l7policy_id", _Uuid, sa.ForeignKey("l7policies.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("compare_type", sa.Text, nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("invert", sa.Boolean, nullable=False),
)

amphorae = sa.Table(
    "amphorae",
    metadata,
    sa.Column("id", _Uuid, primary_key=True),
    # NULL for a spare.
    sa.Column("load_balancer_id", _Uuid, sa.ForeignKey("load_balancers.id", ondelete="RESTRICT"), index=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("ports", JSONB, nullable=False),
    sa.Column("reason", JSONB),
    sa.Column("created_at", _Time, nullable=False),
    sa.Column("updated_at", _Time),
    sa.Column("last_heartbeat_at", _Time),
    sa.Column("has_vips", sa.Boolean),
    sa.Column("heartbeat_key", sa.LargeBinary, nullable=False),
    sa.Index("ix_amphorae_created", "created_at", "id"),
)

silences = sa.Table(
    "silences",
    metadata,
    sa.Column("amphora_id", _Uuid, sa.ForeignKey("amphorae.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("since", _Time, nullable=False),
    # When a health process said so last: one that has died says nothing about now.
    sa.Column("told_at", _Time, nullable=False),
)

replacements = sa.Table(
    "replacements",
    metadata,
    # No foreign key: the amphora goes, and still counts.
    sa.Column("amphora_id", _Uuid, primary_key=True),
    sa.Column("at", _Time, nullable=False, server_default=sa.func.now(), index=True),
)

COUNTERS = ("bytes_in", "bytes_out", "request_errors", "total_connections")

listener_statistics = sa.Table(
    "listener_statistics",
    metadata,
    sa.Column("listener_id", _Uuid, sa.ForeignKey("listeners.id", ondelete="CASCADE"), nullable=False),
    # No foreign key: what amphorae have counted that are gone is kept under an id of its own.
    sa.Column("amphora_id", _Uuid, nullable=False, index=True),
    sa.Column("process", sa.BigInteger, nullable=False),
    sa.Column("told_at", _Time, nullable=False),
    sa.Column("active_connections", sa.BigInteger, nullable=False, server_default="0"),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTERS),
    *(sa.Column(f"last_{name}", sa.BigInteger, nullable=False, server_default="0") for name in COUNTERS),
    sa.PrimaryKeyConstraint("listener_id", "amphora_id"),
)

ports = sa.Table(
    "ports",
    metadata,
    sa.Column("id", _Uuid, primary_key=True),
    sa.Column("network_id", _Uuid, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("mac_address", sa.Text, nullable=False),
    sa.Column("created_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.UniqueConstraint("device_id", "network_id"),
)

port_addresses = sa.Table(
    "port_addresses",
    metadata,
    sa.Column("port_id", _Uuid, sa.ForeignKey("ports.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("subnet_id", _Uuid, nullable=False),
    sa.Column("address", INET, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint("subnet_id", "address"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("load_balancer_id", _Uuid, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("reason", JSONB),
    sa.Column("at", _Time, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False, server_default=""),
    sa.Index("ix_events_load_balancer", "load_balancer_id", "id"),
)

drains = sa.Table(
    "drains",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("since", _Time, nullable=False),
    sa.Column("reason", JSONB),
    sa.Column("is_gone", sa.Boolean, nullable=False, server_default=sa.false()),
)

generations = sa.Table(
    "generations",
    metadata,
    sa.Column("load_balancer_id", _Uuid, sa.ForeignKey("load_balancers.id", ondelete="CASCADE"), nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("settled_at", _Time, nullable=False),
    # The whole tree as JSON: it is only ever read as one.
    sa.Column("tree", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("load_balancer_id", "generation"),
)

chores = sa.Table(
    "chores",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("due_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", _Time),
    sa.Column("done_at", _Time),
    sa.Column("reason", JSONB),
    sa.Column("memory", JSONB, nullable=False, server_default="{}"),
)

deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column("is_only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("id", _Uuid, nullable=False, server_default=sa.func.gen_random_uuid()),
    sa.Column("mark", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("held_since", _Time),
    sa.CheckConstraint("is_only", name="ck_deployment_is_only"),
)
"""One row, made with the schema."""


def _kept() -> tuple[SchemaItem, ...]:
    """Return the columns that secrets and their containers share."""
    return (
        sa.Column("id", _Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False, index=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("updated_at", _Time, nullable=False),
    )


def _profiles(name: str, data: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("id", _Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("provider_name", sa.Text, nullable=False),
        sa.Column(data, sa.Text, nullable=False),
        sa.Column("created_at", _Time, nullable=False),
    )


def _offers(name: str, *columns: SchemaItem) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        *columns,
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_at", _Time, nullable=False),
    )


def _profile(name: str, profiles: str) -> sa.Column[str]:
    return sa.Column(name, _Uuid, sa.ForeignKey(f"{profiles}.id", ondelete="RESTRICT"), nullable=False, index=True)


flavor_profiles = _profiles("flavor_profiles", "flavor_data")
flavors = _offers(
    "flavors",
    sa.Column("id", _Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _profile("flavor_profile_id", "flavor_profiles"),
)
availability_zone_profiles = _profiles("availability_zone_profiles", "availability_zone_data")
availability_zones = _offers(
    "availability_zones",
    sa.Column("name", sa.Text, primary_key=True),
    _profile("availability_zone_profile_id", "availability_zone_profiles"),
)

quotas = sa.Table(
    "quotas",
    metadata,
    sa.Column("project_id", sa.Text, primary_key=True),
    # Who adds objects to a project holds its row here until the commit, so that no two count the same room.
    *(sa.Column(name, sa.Integer) for name in Quota.__struct_fields__ if name != "project_id"),
)

secrets = sa.Table(
    "secrets",
    metadata,
    *_kept(),
    sa.Column("secret_type", sa.Text, nullable=False),
    sa.Column("algorithm", sa.Text),
    sa.Column("bit_length", sa.Integer),
    sa.Column("mode", sa.Text),
    sa.Column("content_type", sa.Text),
    sa.Column("expiration", _Time),
    # Sealed with a key that is not in this database; NULL until there is a payload.
    sa.Column("sealed", sa.LargeBinary),
)

secret_containers = sa.Table(
    "secret_containers",
    metadata,
    *_kept(),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("secret_ids", JSONB, nullable=False),
)

RECORD_TABLE_OF: dict[type[msgspec.Struct], sa.Table] = {
    FlavorProfile: flavor_profiles,
    Flavor: flavors,
    AvailabilityZoneProfile: availability_zone_profiles,
    AvailabilityZone: availability_zones,
    Quota: quotas,
}
"""Tables of what stands below no load balancer. Their first primary key column tells objects apart."""

TABLE_OF: dict[type[Resource], sa.Table] = {
    LoadBalancer: load_balancers,
    Listener: listeners,
    Pool: pools,
    Member: members,
    HealthMonitor: health_monitors,
    L7Policy: l7policies,
    L7Rule: l7rules,
}
"""Each resource's table; a new resource adds its line here."""
