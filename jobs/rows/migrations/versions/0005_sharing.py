"""Priorities, an index of forecasts by owner, and idle workers."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns for priorities and idle workers, and the index of forecasts by owner."""
    op.add_column("forecast", sa.Column("priority", sa.String(length=8), nullable=False, server_default="normal"))
    op.create_index("forecast_by_owner", "forecast", ["owner", "started"], unique=False)
    op.add_column("worker", sa.Column("idle_until", sa.Float(), nullable=True))
