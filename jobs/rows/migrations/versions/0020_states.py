"""Initial states that their owners keep for several forecasts."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the table of kept initial states."""
    op.create_table(
        "state",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("description", sa.JSON(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("deleted", sa.Float()),
        sa.UniqueConstraint("owner", "idempotency_key"),
    )
    op.create_index("state_by_owner", "state", ["owner", "created", "id"], unique=False)
    op.create_index("state_by_creation", "state", ["created"], unique=False)
    op.create_index("state_by_deletion", "state", ["deleted"], unique=False)
