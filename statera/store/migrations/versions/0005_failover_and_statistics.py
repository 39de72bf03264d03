"""Amphorae that are to be replaced, and the traffic of listeners, which outlives amphorae."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COUNTERS = ("bytes_in", "bytes_out", "request_errors", "total_connections")


def upgrade() -> None:
    op.add_column(
        "load_balancers",
        sa.Column("amphorae_to_replace", postgresql.ARRAY(sa.Uuid(as_uuid=False)), server_default="{}", nullable=False),
    )
    op.create_table(
        "listener_statistics",
        sa.Column("listener_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("amphora_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("process", sa.BigInteger(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("active_connections", sa.BigInteger(), server_default="0", nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTERS),
        *(sa.Column(f"last_{name}", sa.BigInteger(), server_default="0", nullable=False) for name in _COUNTERS),
        sa.ForeignKeyConstraint(
            ["listener_id"], ["listeners.id"], name="fk_listener_statistics_listener_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("listener_id", "amphora_id", name="pk_listener_statistics"),
    )
    op.create_index("ix_listener_statistics_amphora_id", "listener_statistics", ["amphora_id"])
