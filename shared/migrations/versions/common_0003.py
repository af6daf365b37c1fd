"""Receipts have a number that they can be read by, what was asked, and what of the answer is not kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "common_0003"
down_revision = "common_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.Column("number", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False)
    op.add_column("receipt", number)
    op.add_column("receipt", sa.Column("asked", sa.Text(), server_default="", nullable=False))
    op.add_column("receipt", sa.Column("shown_once", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.create_unique_constraint("uq_receipt_number", "receipt", ["number"])
    op.create_index("ix_receipt_at", "receipt", ["at"])
