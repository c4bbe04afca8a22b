"""The number of lead times whose diagnostics and summary are assigned to a worker."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; the commits of lead times that are already complete have assigned their products."""
    op.add_column("forecast", sa.Column("summarised", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE forecast SET summarised = lead_times")
