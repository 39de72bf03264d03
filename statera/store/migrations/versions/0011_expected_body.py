"""What the body of an answer must hold for a member to be healthy."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("health_monitors", sa.Column("expected_body", sa.Text()))
