"""Labels of a forecast, and the hours for which its data is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add labels and retention to forecasts."""
    op.add_column("forecast", sa.Column("labels", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("forecast", sa.Column("retention_hours", sa.Float(), nullable=True))
    op.create_index("forecast_by_retention", "forecast", ["data", "retention_hours"], unique=False)
