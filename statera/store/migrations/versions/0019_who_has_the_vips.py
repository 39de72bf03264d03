"""Which of the amphorae that share VIPs has them now."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("amphorae", sa.Column("has_vips", sa.Boolean))
