"""Hosts that are gone for good: nothing there has to be removed any more."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("drains", sa.Column("is_gone", sa.Boolean(), nullable=False, server_default=sa.false()))
