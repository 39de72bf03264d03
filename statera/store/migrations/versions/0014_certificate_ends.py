"""When certificates of tenants end."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("load_balancers", sa.Column("certificate_ends", JSONB(), server_default="{}", nullable=False))
