"""Scores of batches."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the scores of the parts of a batch together."""
    op.create_table(
        "batch_verification",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("batch_id", sa.String(40), sa.ForeignKey("batch.id", ondelete="CASCADE"), nullable=False),
        sa.Column("reference", sa.String(40), nullable=False),
        sa.Column("starts", sa.JSON(), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
    )
    op.create_index("verification_by_batch", "batch_verification", ["batch_id", "id"])
