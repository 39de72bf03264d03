"""Chores remember things from one time to the next, whichever worker does them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chores", sa.Column("memory", postgresql.JSONB(), server_default="{}", nullable=False))
