"""The nouns of recommendations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "recommendations_0001"
down_revision = None
branch_labels = ("recommendations",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "issuing_body",
        sa.Column("name", postgresql.JSONB(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=True),
        sa.Column("grading_scheme", postgresql.JSONB(), nullable=False),
        sa.Column("basis", sa.String(40), nullable=False),
        sa.Column("citations", postgresql.JSONB(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("began_on", sa.Date(), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("effective_from_basis", sa.String(40), nullable=False),
        sa.Column("effective_from_precision", sa.String(40), nullable=False),
        sa.Column("external_ids", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issuing_body")),
        sa.UniqueConstraint("reference", name=op.f("uq_issuing_body_reference")),
    )
    op.create_table(
        "term",
        sa.Column("vocabulary", sa.String(40), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", postgresql.JSONB(), nullable=False),
        sa.Column("definition", postgresql.JSONB(), nullable=True),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("group", sa.Text(), nullable=True),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("basis", sa.String(40), nullable=False),
        sa.Column("citations", postgresql.JSONB(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("began_on", sa.Date(), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("effective_from_basis", sa.String(40), nullable=False),
        sa.Column("effective_from_precision", sa.String(40), nullable=False),
        sa.Column("external_ids", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_term")),
        sa.UniqueConstraint("reference", name=op.f("uq_term_reference")),
        sa.UniqueConstraint("vocabulary", "code", name=op.f("uq_term_vocabulary_code")),
    )
    op.create_table(
        "source",
        sa.Column("issuing_body_id", sa.Uuid(), nullable=False),
        sa.Column("title", postgresql.JSONB(), nullable=False),
        sa.Column("series", sa.Text(), nullable=True),
        sa.Column("round", sa.Integer(), nullable=True),
        sa.Column("published_on", sa.Date(), nullable=True),
        sa.Column("published_on_precision", sa.String(40), nullable=False),
        sa.Column("adopted_on", sa.Date(), nullable=True),
        sa.Column("period_from", sa.Text(), nullable=True),
        sa.Column("period_to", sa.Text(), nullable=True),
        sa.Column("follow_up", sa.Text(), nullable=True),
        sa.Column("named_in_column", sa.Boolean(), nullable=False),
        sa.Column("basis", sa.String(40), nullable=False),
        sa.Column("citations", postgresql.JSONB(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("began_on", sa.Date(), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("effective_from_basis", sa.String(40), nullable=False),
        sa.Column("effective_from_precision", sa.String(40), nullable=False),
        sa.Column("external_ids", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["issuing_body_id"], ["issuing_body.id"], name=op.f("fk_source_issuing_body_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("reference", name=op.f("uq_source_reference")),
    )
    op.create_table(
        "recommendation",
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("strength", sa.String(40), nullable=True),
        sa.Column("paragraph", sa.Text(), nullable=True),
        sa.Column("summary", postgresql.JSONB(), nullable=False),
        sa.Column("addressees", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("addressees_basis", sa.String(40), nullable=False),
        sa.Column("domains", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("forms", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("goals", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("levels", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("classification", sa.String(40), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("closing_reason", sa.String(40), nullable=True),
        sa.Column("basis", sa.String(40), nullable=False),
        sa.Column("citations", postgresql.JSONB(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("began_on", sa.Date(), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("effective_from_basis", sa.String(40), nullable=False),
        sa.Column("effective_from_precision", sa.String(40), nullable=False),
        sa.Column("external_ids", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["recommendation.id"], name=op.f("fk_recommendation_parent_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_recommendation_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recommendation")),
        sa.UniqueConstraint("reference", name=op.f("uq_recommendation_reference")),
    )
    for noun in ("issuing_body", "term", "source", "recommendation"):
        op.execute(f"create sequence {noun}_reference")
