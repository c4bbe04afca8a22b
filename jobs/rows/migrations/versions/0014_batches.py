"""Batches of forecasts."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_LISTS = {
    "forecast_by_owner": ["owner", "created", "id"],
    "forecast_by_owner_and_status": ["owner", "status", "created", "id"],
}


def upgrade() -> None:
    """Add batches and the place of a forecast in one; leave the parts of batches out of the indexes of lists."""
    op.create_table(
        "batch",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("init_times", sa.JSON(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.UniqueConstraint("owner", "idempotency_key"),
    )
    op.create_index("batch_by_owner", "batch", ["owner", "created", "id"])
    op.add_column("forecast", sa.Column("batch_id", sa.String(40)))
    op.add_column("forecast", sa.Column("batch_index", sa.Integer()))
    op.create_index("forecast_by_batch", "forecast", ["batch_id", "batch_index"], unique=True)
    is_no_part = sa.text("batch_id IS NULL")
    for name, columns in _LISTS.items():
        op.drop_index(name, "forecast")
        op.create_index(name, "forecast", columns, sqlite_where=is_no_part, postgresql_where=is_no_part)
