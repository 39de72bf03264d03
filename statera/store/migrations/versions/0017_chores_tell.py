"""When a chore was done last, for operators."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chores", sa.Column("done_at", sa.DateTime(timezone=True)))
