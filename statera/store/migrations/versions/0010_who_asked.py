"""Which request asked for an edit: with the history, and with the load balancer until a worker has done it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("request_id", sa.Text, nullable=False, server_default=""))
    op.add_column("load_balancers", sa.Column("request_id", sa.Text, nullable=False, server_default=""))
    op.add_column("load_balancers", sa.Column("trace", sa.Text, nullable=False, server_default=""))
