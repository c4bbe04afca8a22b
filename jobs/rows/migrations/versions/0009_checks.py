"""When the files of a forecast were checked last, and what was found."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the result of the last check to forecasts."""
    op.add_column("forecast", sa.Column("checked", sa.Float(), nullable=False, server_default="0"))
    op.add_column("forecast", sa.Column("damaged_files", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("forecast", sa.Column("damage", sa.JSON(), nullable=True))
    op.create_index("forecast_by_check", "forecast", ["data", "checked", "id"], unique=False)
    op.create_index("forecast_by_damage", "forecast", ["damaged_files"], unique=False)
