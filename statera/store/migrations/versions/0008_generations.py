"""The trees that were live, to bring one of them back."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "generations",
        sa.Column("load_balancer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tree", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name="fk_generations_load_balancer_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("load_balancer_id", "generation", name="pk_generations"),
    )
