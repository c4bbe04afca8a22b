"""Alerts of a forecast, and how far they are evaluated."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add alerts and their state to forecasts."""
    op.add_column("forecast", sa.Column("alerts", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("forecast", sa.Column("alert_state", sa.JSON(none_as_null=True), nullable=True))
