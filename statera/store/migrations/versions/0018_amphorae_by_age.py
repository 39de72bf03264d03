"""Pages of the list of amphorae without sorting all of them."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_amphorae_created", "amphorae", ["created_at", "id"])
