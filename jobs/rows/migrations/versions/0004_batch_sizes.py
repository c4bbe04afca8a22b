"""The number of members that a kind of device computes fastest in one batch."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table of batch sizes."""
    op.create_table(
        "batch_size",
        sa.Column("checkpoint_digest", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=100), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_digest", "device"),
    )
