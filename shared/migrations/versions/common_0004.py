"""Receipts are found by the digest of their key; the key itself, which a caller may fill with anything, is not kept."""

from alembic import op

revision = "common_0004"
down_revision = "common_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("update receipt set key = encode(sha256(convert_to(key, 'UTF8')), 'hex')")
