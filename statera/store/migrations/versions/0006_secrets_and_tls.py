"""Secrets of tenants, and the TLS attributes of listeners and pools."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import SchemaItem

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("default_tls_container_ref", sa.Text()),
        sa.Column("sni_container_refs", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("client_authentication", sa.Text(), server_default="NONE", nullable=False),
        sa.Column("client_ca_tls_container_ref", sa.Text()),
        sa.Column("client_crl_container_ref", sa.Text()),
        *_terms(),
        sa.Column("hsts_max_age", sa.BigInteger()),
        sa.Column("hsts_include_subdomains", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("hsts_preload", sa.Boolean(), server_default="false", nullable=False),
    ):
        op.add_column("listeners", column)
    for column in (
        sa.Column("tls_enabled", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("tls_container_ref", sa.Text()),
        sa.Column("ca_tls_container_ref", sa.Text()),
        sa.Column("crl_container_ref", sa.Text()),
        *_terms(),
    ):
        op.add_column("pools", column)
    _create(
        "secrets",
        sa.Column("secret_type", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text()),
        sa.Column("bit_length", sa.Integer()),
        sa.Column("mode", sa.Text()),
        sa.Column("content_type", sa.Text()),
        sa.Column("expiration", sa.DateTime(timezone=True)),
        sa.Column("sealed", sa.LargeBinary()),
    )
    _create(
        "secret_containers",
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("secret_ids", postgresql.JSONB(), nullable=False),
    )


def _terms() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("tls_ciphers", sa.Text()),
        sa.Column("tls_versions", postgresql.ARRAY(sa.Text())),
        sa.Column("alpn_protocols", postgresql.ARRAY(sa.Text())),
    )


def _create(name: str, *columns: SchemaItem) -> None:
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("creator", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )
    op.create_index(f"ix_{name}_project_id", name, ["project_id"])
