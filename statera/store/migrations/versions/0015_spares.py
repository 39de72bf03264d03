"""Amphorae that stand ready and belong to no load balancer yet."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("amphorae", "load_balancer_id", nullable=True)
