"""Who keeps silent, as health says, and which amphorae were replaced without being asked."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "silences",
        sa.Column("amphora_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["amphora_id"], ["amphorae.id"], name="fk_silences_amphora_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("amphora_id", name="pk_silences"),
    )
    op.create_table(
        "replacements",
        sa.Column("amphora_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("amphora_id", name="pk_replacements"),
    )
    op.create_index("ix_replacements_at", "replacements", ["at"])
