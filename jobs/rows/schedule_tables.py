"""The tables of schedules: what they submit, their runs, and when data sets were looked at."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from jobs.rows.tables import metadata

schedules = Table(
    "schedule",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("idempotency_key", String(255)),
    Column("request_digest", String(64), nullable=False),
    Column("name", String(100), nullable=False),
    Column("source", String(8), nullable=False),
    Column("dataset", String(100), nullable=False),
    Column("every_hours", Integer, nullable=False),
    Column("offset_hours", Integer, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("stop", BigInteger),
    Column("catch_up", Integer, nullable=False),
    Column("wait_hours", Float, nullable=False),
    Column("late_hours", Float, nullable=False),
    Column("verify", Boolean, nullable=False),
    Column("forecast", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(300)),
    Column("next_cycle", BigInteger),
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
    UniqueConstraint("owner", "idempotency_key"),
    UniqueConstraint("owner", "name"),
    Index("schedule_by_owner", "owner", "created", "id"),
    Index("schedule_by_cycle", "state", "next_cycle"),
)
"""Schedules; `start`, `stop` and `next_cycle` are initial times, and `forecast` is the body without initial state.

`next_cycle` is the first cycle without a run, null after the last one. `source` is `api` or `file`.
"""

schedule_runs = Table(
    "schedule_run",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("schedule_id", String(40), ForeignKey("schedule.id", ondelete="CASCADE"), nullable=False),
    Column("init_time", BigInteger, nullable=False),
    Column("begins", Float, nullable=False),
    Column("dataset", String(100), nullable=False),
    Column("state", String(16), nullable=False),
    Column("caught_up", Boolean, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("ready", Float),
    Column("next_attempt", Float),
    Column("claimed_until", Float),
    Column("problem", JSON(none_as_null=True)),
    Column("forecast_id", String(40)),
    Column("created", Float, nullable=False),
    Column("finished", Float),
    Column("verification", String(16), nullable=False),
    Column("verify_from", Float),
    Column("verify_until", Float),
    Column("next_verification", Float),
    Column("verification_epoch", Integer, nullable=False),
    Column("verification_attempts", Integer, nullable=False),
    Column("verification_problem", JSON(none_as_null=True)),
    Column("verified_times", Integer),
    UniqueConstraint("schedule_id", "init_time"),
    Index("schedule_run_by_attempt", "state", "next_attempt"),
    Index("schedule_run_by_verification", "verification", "next_verification"),
    Index("schedule_run_by_forecast", "forecast_id"),
    Index("schedule_run_by_end", "finished"),
)
"""One row for each cycle of a schedule; it `begins` at its initial time, or when the schedule was made.

`epoch` and `verification_epoch` are fencing tokens: claims increase them.

`attempts` counts refused submissions, `verification_attempts` failed verifications, and `ready` is when the analyses
were there first. A run whose `claimed_until` has passed belongs to a process that was lost. `verify_from` is the last
valid time of the forecast, and after `verify_until` it is verified with the analyses that are there.
"""

dataset_polls = Table(
    "dataset_poll",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("polled", Float, nullable=False),
    Column("newest", BigInteger),
    Column("error", String(300)),
)
"""The newest initial time of each data set that a schedule uses, and when it was looked up last."""
