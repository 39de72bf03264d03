"""L7 policies of listeners, and their rules."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import SchemaItem

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create(
        "l7policies",
        sa.Column("listener_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("redirect_pool_id", sa.Uuid(as_uuid=False)),
        sa.Column("redirect_url", sa.Text()),
        sa.Column("redirect_prefix", sa.Text()),
        sa.Column("redirect_http_code", sa.Integer()),
        sa.ForeignKeyConstraint(
            ["listener_id"], ["listeners.id"], name="fk_l7policies_listener_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["redirect_pool_id"],
            ["pools.id"],
            name="fk_l7policies_redirect_pool_id",
            ondelete="SET NULL",
            deferrable=True,
            initially="DEFERRED",
        ),
        indexed=("listener_id", "redirect_pool_id"),
    )
    _create(
        "l7rules",
        sa.Column("l7policy_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("compare_type", sa.Text(), nullable=False),
        sa.Column("key", sa.Text()),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("invert", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["l7policy_id"], ["l7policies.id"], name="fk_l7rules_l7policy_id", ondelete="CASCADE"),
        indexed=("l7policy_id",),
    )


def _create(name: str, *own: SchemaItem, indexed: tuple[str, ...]) -> None:
    op.create_table(
        name,
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
        *own,
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name=f"fk_{name}_load_balancer_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )
    op.create_index(f"ix_{name}_created", name, ["created_at", "id"])
    op.create_index(f"ix_{name}_project", name, ["project_id", "created_at", "id"])
    for column in ("load_balancer_id", *indexed):
        op.create_index(f"ix_{name}_{column}", name, [column])
