"""Clients, keys and appointments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "programme_0002"
down_revision = "programme_0001"
branch_labels = None
depends_on = None


def _entity() -> list[sa.Column]:
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("began_on", sa.Date(), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("effective_from_basis", sa.String(40), nullable=False),
        sa.Column("effective_from_precision", sa.String(40), nullable=False),
        sa.Column("external_ids", postgresql.JSONB(), nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "client",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("functions", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("revoked_on", sa.Date(), nullable=True),
        *_entity(),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_client_partner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_client")),
        sa.UniqueConstraint("client_id", name=op.f("uq_client_client_id")),
        sa.UniqueConstraint("reference", name=op.f("uq_client_reference")),
    )
    op.create_table(
        "api_key",
        sa.Column("client", sa.Uuid(), nullable=False),
        sa.Column("begins_with", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("revoked_on", sa.Date(), nullable=True),
        sa.Column("last_used_at", sa.TIMESTAMP(timezone=True), nullable=True),
        *_entity(),
        sa.ForeignKeyConstraint(["client"], ["client.id"], name=op.f("fk_api_key_client")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("begins_with", name=op.f("uq_api_key_begins_with")),
        sa.UniqueConstraint("reference", name=op.f("uq_api_key_reference")),
    )
    op.create_table(
        "appointment",
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        *_entity(),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_appointment_partner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appointment")),
        sa.UniqueConstraint("reference", name=op.f("uq_appointment_reference")),
    )
    op.create_index("ix_appointment_holder", "appointment", ["holder"])
    for name in ("client", "api_key", "appointment"):
        op.execute(f"create sequence {name}_reference")
