"""Callbacks of forecasts, and their deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the callback to forecasts, and the table of deliveries."""
    op.add_column("forecast", sa.Column("callback", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("forecast_id", sa.String(40), sa.ForeignKey("forecast.id", ondelete="CASCADE"), nullable=False),
        sa.Column("webhook_id", sa.String(40), nullable=False, unique=True),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("next_attempt", sa.Float(), nullable=True),
        sa.Column("finished", sa.Float(), nullable=True),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(200), nullable=True),
    )
    op.create_index("delivery_by_time", "delivery", ["state", "next_attempt"], unique=False)
    op.create_index("delivery_by_forecast", "delivery", ["forecast_id", "id"], unique=False)
