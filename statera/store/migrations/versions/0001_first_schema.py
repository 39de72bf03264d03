"""The first schema: load balancers and all below them, amphorae, ports, events, chores."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chores",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("reason", postgresql.JSONB()),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chores")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("load_balancer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("reason", postgresql.JSONB()),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_load_balancer", "events", ["load_balancer_id", "id"], unique=False)
    op.create_table(
        "load_balancers",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("provisioning_status", sa.Text(), nullable=False),
        sa.Column("operating_status", sa.Text(), nullable=False),
        sa.Column("reason", postgresql.JSONB()),
        sa.Column("operating_reason", postgresql.JSONB()),
        sa.Column("changed_at_generation", sa.BigInteger(), nullable=False),
        sa.Column("deleting", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True)),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("vip", postgresql.JSONB(), nullable=False),
        sa.Column("additional_vips", postgresql.JSONB(), nullable=False),
        sa.Column("owns_vip_port", sa.Boolean(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("flavor_id", sa.Uuid(as_uuid=False)),
        sa.Column("availability_zone", sa.Text()),
        sa.Column("vip_qos_policy_id", sa.Uuid(as_uuid=False)),
        sa.Column("topology", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("observed_generation", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_load_balancers")),
    )
    op.create_index("ix_load_balancers_created", "load_balancers", ["created_at", "id"], unique=False)
    op.create_index("ix_load_balancers_due", "load_balancers", ["due_at"], unique=False)
    op.create_index("ix_load_balancers_project", "load_balancers", ["project_id", "created_at", "id"], unique=False)
    op.create_table(
        "ports",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("network_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("mac_address", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ports")),
        sa.UniqueConstraint("device_id", "network_id", name=op.f("uq_ports_device_id_network_id")),
    )
    op.create_table(
        "amphorae",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("load_balancer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("ports", postgresql.JSONB(), nullable=False),
        sa.Column("reason", postgresql.JSONB()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True)),
        sa.Column("last_heartbeat_at", sa.DateTime(timezone=True)),
        sa.Column("heartbeat_key", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name=op.f("fk_amphorae_load_balancer_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_amphorae")),
    )
    op.create_index(op.f("ix_amphorae_load_balancer_id"), "amphorae", ["load_balancer_id"], unique=False)
    op.create_table(
        "pools",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("provisioning_status", sa.Text(), nullable=False),
        sa.Column("operating_status", sa.Text(), nullable=False),
        sa.Column("reason", postgresql.JSONB()),
        sa.Column("operating_reason", postgresql.JSONB()),
        sa.Column("changed_at_generation", sa.BigInteger(), nullable=False),
        sa.Column("deleting", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True)),
        sa.Column("load_balancer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("lb_algorithm", sa.Text(), nullable=False),
        sa.Column("session_persistence", postgresql.JSONB()),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name=op.f("fk_pools_load_balancer_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pools")),
    )
    op.create_index("ix_pools_created", "pools", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_pools_load_balancer_id"), "pools", ["load_balancer_id"], unique=False)
    op.create_index("ix_pools_project", "pools", ["project_id", "created_at", "id"], unique=False)
    op.create_table(
        "port_addresses",
        sa.Column("port_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("subnet_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["port_id"], ["ports.id"], name=op.f("fk_port_addresses_port_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("subnet_id", "address", name=op.f("pk_port_addresses")),
    )
    op.create_index(op.f("ix_port_addresses_port_id"), "port_addresses", ["port_id"], unique=False)
    op.create_table(
        "health_monitors",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("provisioning_status", sa.Text(), nullable=False),
        sa.Column("operating_status", sa.Text(), nullable=False),
        sa.Column("reason", postgresql.JSONB()),
        sa.Column("operating_reason", postgresql.JSONB()),
        sa.Column("changed_at_generation", sa.BigInteger(), nullable=False),
        sa.Column("deleting", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True)),
        sa.Column("load_balancer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("pool_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("delay", sa.BigInteger(), nullable=False),
        sa.Column("timeout", sa.BigInteger(), nullable=False),
        sa.Column("max_retries", sa.Integer(), nullable=False),
        sa.Column("max_retries_down", sa.Integer(), nullable=False),
        sa.Column("http_method", sa.Text()),
        sa.Column("url_path", sa.Text()),
        sa.Column("expected_codes", sa.Text()),
        sa.Column("http_version", sa.Float()),
        sa.Column("domain_name", sa.Text()),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"],
            ["load_balancers.id"],
            name=op.f("fk_health_monitors_load_balancer_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_health_monitors_pool_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_health_monitors")),
    )
    op.create_index("ix_health_monitors_created", "health_monitors", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_health_monitors_load_balancer_id"), "health_monitors", ["load_balancer_id"], unique=False)
    op.create_index(op.f("ix_health_monitors_pool_id"), "health_monitors", ["pool_id"], unique=False)
    op.create_index("ix_health_monitors_project", "health_monitors", ["project_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_health_monitors_pool", "health_monitors", ["pool_id"], unique=True, postgresql_where=sa.text("NOT deleting")
    )
    op.create_table(
        "listeners",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("provisioning_status", sa.Text(), nullable=False),
        sa.Column("operating_status", sa.Text(), nullable=False),
        sa.Column("reason", postgresql.JSONB()),
        sa.Column("operating_reason", postgresql.JSONB()),
        sa.Column("changed_at_generation", sa.BigInteger(), nullable=False),
        sa.Column("deleting", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True)),
        sa.Column("load_balancer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("protocol_port", sa.Integer(), nullable=False),
        sa.Column("default_pool_id", sa.Uuid(as_uuid=False)),
        sa.Column("connection_limit", sa.BigInteger()),
        sa.Column("timeout_client_data", sa.BigInteger(), nullable=False),
        sa.Column("timeout_member_connect", sa.BigInteger(), nullable=False),
        sa.Column("timeout_member_data", sa.BigInteger(), nullable=False),
        sa.Column("timeout_tcp_inspect", sa.BigInteger(), nullable=False),
        sa.Column("allowed_cidrs", postgresql.ARRAY(sa.Text())),
        sa.Column("insert_headers", postgresql.JSONB(), nullable=False),
        sa.Column(
            "transport",
            sa.Text(),
            sa.Computed("CASE WHEN protocol IN ('UDP', 'SCTP') THEN protocol ELSE 'TCP' END", persisted=True),
        ),
        sa.ForeignKeyConstraint(
            ["default_pool_id"],
            ["pools.id"],
            name=op.f("fk_listeners_default_pool_id"),
            ondelete="SET NULL",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name=op.f("fk_listeners_load_balancer_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listeners")),
    )
    op.create_index("ix_listeners_created", "listeners", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_listeners_default_pool_id"), "listeners", ["default_pool_id"], unique=False)
    op.create_index(op.f("ix_listeners_load_balancer_id"), "listeners", ["load_balancer_id"], unique=False)
    op.create_index("ix_listeners_project", "listeners", ["project_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_listeners_port",
        "listeners",
        ["load_balancer_id", "transport", "protocol_port"],
        unique=True,
        postgresql_where=sa.text("NOT deleting"),
    )
    op.create_table(
        "members",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("provisioning_status", sa.Text(), nullable=False),
        sa.Column("operating_status", sa.Text(), nullable=False),
        sa.Column("reason", postgresql.JSONB()),
        sa.Column("operating_reason", postgresql.JSONB()),
        sa.Column("changed_at_generation", sa.BigInteger(), nullable=False),
        sa.Column("deleting", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True)),
        sa.Column("load_balancer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("pool_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("protocol_port", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer()),
        sa.Column("backup", sa.Boolean(), nullable=False),
        sa.Column("subnet_id", sa.Uuid(as_uuid=False)),
        sa.Column("monitor_address", sa.Text()),
        sa.Column("monitor_port", sa.Integer()),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name=op.f("fk_members_load_balancer_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_members_pool_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
    )
    op.create_index("ix_members_created", "members", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_members_load_balancer_id"), "members", ["load_balancer_id"], unique=False)
    op.create_index(op.f("ix_members_pool_id"), "members", ["pool_id"], unique=False)
    op.create_index("ix_members_project", "members", ["project_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_members_place",
        "members",
        ["pool_id", "address", "protocol_port"],
        unique=True,
        postgresql_where=sa.text("NOT deleting"),
    )
