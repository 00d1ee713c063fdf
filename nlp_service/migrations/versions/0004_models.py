"""Models that follow one another: embeddings of several at once; what a shadow candidate said beside the one that answers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """An embedding's key is petition and model; two tables of counts."""
    with op.batch_alter_table("embeddings") as embeddings:
        embeddings.drop_constraint("pk_embeddings", type_="primary")
        embeddings.create_primary_key("pk_embeddings", ["petition_id", "model_version"])
    models = ("current", "candidate")
    op.create_table(
        "shadow_pairs",
        sa.Column("day", sa.Date(), nullable=False),
        *(sa.Column(name, sa.String(length=100), nullable=False) for name in models),
        sa.Column("head", sa.String(length=20), nullable=False),
        sa.Column("current_label", sa.String(length=50), nullable=False),
        sa.Column("candidate_label", sa.String(length=50), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", *models, "head", "current_label", "candidate_label", name="pk_shadow_pairs"),
    )
    op.create_table(
        "shadow_days",
        sa.Column("day", sa.Date(), nullable=False),
        *(sa.Column(name, sa.String(length=100), nullable=False) for name in models),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("compared", "dropped", "current_petitions")),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("current_seconds", "candidate_seconds")),
        sa.PrimaryKeyConstraint("day", *models, name="pk_shadow_days"),
    )
