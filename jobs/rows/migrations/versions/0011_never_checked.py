"""An index of forecasts by their last check and their end, which finds the first that was never checked."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Replace the index of checks, which had to pass all waiting forecasts."""
    op.drop_index("forecast_by_check", "forecast")
    op.create_index("forecast_by_check", "forecast", ["data", "checked", "finished"], unique=False)
