"""Subscriptions: who gets facts sent, with which keys, how far that is, the attempts, and what was given up."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "common_0005"
down_revision = "common_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = postgresql.TIMESTAMP(timezone=True)
    op.create_table(
        "subscription",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("sink", sa.Text(), nullable=False),
        sa.Column("types", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("filters", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("allowed_rate", sa.Integer(), nullable=True),
        sa.Column("began_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_subscription"),
    )
    op.create_index("ix_subscription_organisation", "subscription", ["organisation"])
    op.create_table(
        "subscription_key",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("private", sa.LargeBinary(), nullable=False),
        sa.Column("began_at", moment, nullable=False),
        sa.Column("ends_at", moment, nullable=True),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscription.id"], name="fk_subscription_key_subscription_id"),
        sa.PrimaryKeyConstraint("id", name="pk_subscription_key"),
    )
    op.create_index("ix_subscription_key_subscription_id", "subscription_key", ["subscription_id"])
    op.create_table(
        "subscription_delivery",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("waited", sa.Float(), nullable=False),
        sa.Column("failing_since", moment, nullable=True),
        sa.Column("next_at", moment, nullable=True),
        sa.Column("delivered_at", moment, nullable=True),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscription.id"], name="fk_subscription_delivery_subscription_id"
        ),
        sa.PrimaryKeyConstraint("subscription_id", name="pk_subscription_delivery"),
    )
    op.create_table(
        "subscription_attempt",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscription.id"], name="fk_subscription_attempt_subscription_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_subscription_attempt"),
    )
    op.create_index("ix_subscription_attempt_at", "subscription_attempt", ["at"])
    op.create_index("ix_subscription_attempt_subscription_id_id", "subscription_attempt", ["subscription_id", "id"])
    op.create_table(
        "subscription_dead_letter",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("died_at", moment, nullable=False),
        sa.Column("asked_at", moment, nullable=True),
        sa.Column("redelivered_at", moment, nullable=True),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscription.id"], name="fk_subscription_dead_letter_subscription_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_subscription_dead_letter"),
    )
    op.create_index(
        "ix_subscription_dead_letter_subscription_id_event_id",
        "subscription_dead_letter",
        ["subscription_id", "event_id"],
        unique=True,
    )
