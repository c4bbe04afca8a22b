"""Schedules, their runs, and the newest analyses of their data sets."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Add the tables of schedules."""
    op.create_table(
        "schedule",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("source", sa.String(8), nullable=False),
        sa.Column("dataset", sa.String(100), nullable=False),
        sa.Column("every_hours", sa.Integer(), nullable=False),
        sa.Column("offset_hours", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.BigInteger()),
        sa.Column("catch_up", sa.Integer(), nullable=False),
        sa.Column("wait_hours", sa.Float(), nullable=False),
        sa.Column("late_hours", sa.Float(), nullable=False),
        sa.Column("verify", sa.Boolean(), nullable=False),
        sa.Column("forecast", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(300)),
        sa.Column("next_cycle", sa.BigInteger()),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("changed", sa.Float(), nullable=False),
        sa.UniqueConstraint("owner", "idempotency_key"),
        sa.UniqueConstraint("owner", "name"),
    )
    op.create_index("schedule_by_owner", "schedule", ["owner", "created", "id"], unique=False)
    op.create_index("schedule_by_cycle", "schedule", ["state", "next_cycle"], unique=False)
    _create_runs()
    op.create_table(
        "dataset_poll",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("polled", sa.Float(), nullable=False),
        sa.Column("newest", sa.BigInteger()),
        sa.Column("error", sa.String(300)),
    )


def _create_runs() -> None:
    op.create_table(
        "schedule_run",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("schedule_id", sa.String(40), sa.ForeignKey("schedule.id", ondelete="CASCADE"), nullable=False),
        sa.Column("init_time", sa.BigInteger(), nullable=False),
        sa.Column("begins", sa.Float(), nullable=False),
        sa.Column("dataset", sa.String(100), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("caught_up", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("ready", sa.Float()),
        sa.Column("next_attempt", sa.Float()),
        sa.Column("claimed_until", sa.Float()),
        sa.Column("problem", sa.JSON(none_as_null=True)),
        sa.Column("forecast_id", sa.String(40)),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("finished", sa.Float()),
        sa.Column("verification", sa.String(16), nullable=False),
        sa.Column("verify_from", sa.Float()),
        sa.Column("verify_until", sa.Float()),
        sa.Column("next_verification", sa.Float()),
        sa.Column("verification_epoch", sa.Integer(), nullable=False),
        sa.Column("verification_attempts", sa.Integer(), nullable=False),
        sa.Column("verification_problem", sa.JSON(none_as_null=True)),
        sa.Column("verified_times", sa.Integer()),
        sa.UniqueConstraint("schedule_id", "init_time"),
    )
    for name, columns in (
        ("schedule_run_by_attempt", ["state", "next_attempt"]),
        ("schedule_run_by_verification", ["verification", "next_verification"]),
        ("schedule_run_by_forecast", ["forecast_id"]),
        ("schedule_run_by_end", ["finished"]),
    ):
        op.create_index(name, "schedule_run", columns, unique=False)
