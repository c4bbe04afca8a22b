"""What the workers of a running forecast do."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the phase of forecasts."""
    op.add_column("forecast", sa.Column("phase", sa.String(16), nullable=True))
