"""API keys, availability of data, diagnostics, verifications, and samples of workers' metrics."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables of keys, diagnostics, verifications and samples, and columns for the data of forecasts."""
    op.add_column("forecast", sa.Column("data", sa.String(length=16), nullable=False, server_default="available"))
    op.add_column("forecast", sa.Column("store_bytes", sa.BigInteger(), nullable=True))
    op.add_column("forecast", sa.Column("first_lead_time", sa.Float(), nullable=True))
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("revoked", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "diagnostic",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("forecast_id", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("lead_hours", sa.Integer(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["forecast_id"], ["forecast.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("forecast_id", "lead_hours"),
    )
    op.create_index("diagnostic_by_model", "diagnostic", ["model", "lead_hours", "id"], unique=False)
    op.create_table(
        "verification",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("forecast_id", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("reference", sa.String(length=40), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["forecast_id"], ["forecast.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("verification_by_forecast", "verification", ["forecast_id", "id"], unique=False)
    op.create_index("verification_by_model", "verification", ["model", "reference", "id"], unique=False)
    op.create_table(
        "worker_sample",
        sa.Column("worker", sa.String(length=120), nullable=False),
        sa.Column("sample", sa.String(length=300), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("worker", "sample"),
    )
