"""Roles of API keys, the time at which they expire, their last use, and the secret before the last rotation."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the columns, by which existing keys submit and do not expire; add an index of the forecasts of all owners."""
    op.add_column("api_key", sa.Column("role", sa.String(16), nullable=False, server_default="submitter"))
    op.add_column("api_key", sa.Column("reads", sa.String(64), nullable=True))
    for name in ("expires", "last_used", "previous_until"):
        op.add_column("api_key", sa.Column(name, sa.Float(), nullable=True))
    op.add_column("api_key", sa.Column("previous_digest", sa.String(64), nullable=True))
    op.create_index("api_key_by_previous_digest", "api_key", ["previous_digest"], unique=True)
    op.create_index("forecast_by_creation", "forecast", ["created", "id"], unique=False)
