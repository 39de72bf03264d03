"""Which deployment a database is: what it must not take for its own, it leaves alone."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployment",
        sa.Column("is_only", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False, server_default=sa.func.gen_random_uuid()),
        sa.Column("mark", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("held_since", sa.DateTime(timezone=True)),
        sa.CheckConstraint("is_only", name="ck_deployment_is_only"),
        sa.PrimaryKeyConstraint("is_only", name="pk_deployment"),
    )
    op.execute("INSERT INTO deployment DEFAULT VALUES")
