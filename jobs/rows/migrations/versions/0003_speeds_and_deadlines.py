"""Speeds of machines, deadlines, and the expected bytes of forecasts."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table of speeds, and the columns for deadlines, machines and expected bytes."""
    op.add_column("forecast", sa.Column("deadline", sa.Float(), nullable=True))
    op.add_column("forecast", sa.Column("expected_bytes", sa.BigInteger(), nullable=True))
    op.add_column("worker", sa.Column("kind", sa.String(length=100), nullable=True))
    op.add_column("worker", sa.Column("threads", sa.Integer(), nullable=True))
    op.create_table(
        "speed",
        sa.Column("checkpoint_digest", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=100), nullable=False),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("group_size", sa.Integer(), nullable=False),
        sa.Column("warm_start_seconds", sa.Float(), nullable=True),
        sa.Column("flow_seconds", sa.Float(), nullable=True),
        sa.Column("beside_seconds", sa.Float(), nullable=True),
        sa.Column("memory_bytes", sa.Float(), nullable=True),
        sa.Column("store_ratio", sa.Float(), nullable=True),
        sa.Column("metadata_bytes", sa.Float(), nullable=True),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_digest", "device", "threads", "group_size"),
    )
