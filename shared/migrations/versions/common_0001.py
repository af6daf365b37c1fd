"""The common tables: outbox, receipts, generations of views."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from uuid_utils.compat import uuid7

revision = "common_0001"
down_revision = None
branch_labels = ("common",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("entity", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_outbox"),
        sa.UniqueConstraint("id", name="uq_outbox_id"),
        sa.UniqueConstraint("entity", "version", name="uq_outbox_entity_version"),
    )
    origin = op.create_table(
        "outbox_origin",
        sa.Column("epoch", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", name="pk_outbox_origin"),
    )
    op.bulk_insert(origin, [{"epoch": uuid7()}])
    op.create_table(
        "acted",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_acted"),
    )
    op.create_table(
        "receipt",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", postgresql.JSONB(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_receipt"),
    )
    op.create_table(
        "generation",
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("view", sa.Text(), nullable=False),
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("made_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("retired_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("schema", name="pk_generation"),
    )
    op.create_index(
        "uq_generation_live", "generation", ["view", "shape"], unique=True, postgresql_where=sa.text("live")
    )
    # What was told stays told: the database itself refuses to change or remove it.
    op.execute(
        "create function outbox_is_final() returns trigger language plpgsql as"
        " $$ begin raise exception 'the outbox is never changed or emptied'; end $$"
    )
    op.execute(
        "create trigger outbox_is_final before update or delete or truncate on outbox"
        " for each statement execute function outbox_is_final()"
    )
