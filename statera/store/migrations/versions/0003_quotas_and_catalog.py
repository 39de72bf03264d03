"""Quotas of projects; flavors and availability zones with their profiles, which load balancers refer to."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LIMITS = ("loadbalancer", "listener", "pool", "member", "healthmonitor", "l7policy", "l7rule")


def upgrade() -> None:
    op.create_table(
        "quotas",
        sa.Column("project_id", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Integer()) for name in LIMITS),
        sa.PrimaryKeyConstraint("project_id", name="pk_quotas"),
    )
    _create_profiles("flavor_profiles", "flavor_data")
    _create_profiles("availability_zone_profiles", "availability_zone_data")
    _create_offers(
        "flavors",
        "flavor_profile_id",
        "flavor_profiles",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flavors"),
        sa.UniqueConstraint("name", name="uq_flavors_name"),
    )
    _create_offers(
        "availability_zones",
        "availability_zone_profile_id",
        "availability_zone_profiles",
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_availability_zones"),
    )
    _refer("flavor_id", "flavors", "id")
    _refer("availability_zone", "availability_zones", "name")


def _create_profiles(name: str, data: str) -> None:
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider_name", sa.Text(), nullable=False),
        sa.Column(data, sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )


def _create_offers(name: str, column: str, profiles: str, *own: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        *own,
        sa.Column(column, sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint([column], [f"{profiles}.id"], name=f"fk_{name}_{column}", ondelete="RESTRICT"),
    )
    op.create_index(f"ix_{name}_{column}", name, [column])


def _refer(column: str, table: str, key: str) -> None:
    name = f"fk_load_balancers_{column}"
    op.create_foreign_key(name, "load_balancers", table, [column], [key], ondelete="RESTRICT")
    op.create_index(f"ix_load_balancers_{column}", "load_balancers", [column])
