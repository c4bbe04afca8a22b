"""Lead times whose diagnostics and summary a worker has taken up."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; what was complete before has been taken up by who completed it."""
    op.add_column("forecast", sa.Column("summarised", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE forecast SET summarised = lead_times")
