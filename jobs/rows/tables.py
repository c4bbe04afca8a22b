"""Tables of the database: forecasts, their work and events, workers and measurements. Times are seconds since 1970."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")

forecasts = Table(
    "forecast",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("idempotency_key", String(255)),
    Column("request_digest", String(64), nullable=False),
    Column("request", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("priority", String(8), nullable=False, default="normal"),
    Column("num_lead_times", Integer, nullable=False),
    Column("lead_times", Integer, nullable=False, default=0),
    Column("summarised", Integer, nullable=False, default=0),
    Column("error", JSON),
    Column("receipt", JSON),
    Column("data", String(16), nullable=False, default="available"),
    Column("store_bytes", BigInteger),
    Column("expected_bytes", BigInteger),
    Column("deadline", Float),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("first_lead_time", Float),
    Column("finished", Float),
    UniqueConstraint("owner", "idempotency_key"),
    Index("forecast_by_status", "status", "created"),
    Index("forecast_by_owner", "owner", "started"),
)
"""`lead_times` counts the lead times that all groups have; the first of them was complete at `first_lead_time`.

`summarised` counts the lead times whose diagnostics and summary are assigned to a worker.

`expected_bytes` is the planned size of the store on disk, `store_bytes` its real size.
"""

work = Table(
    "work",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("forecast_id", String(40), ForeignKey("forecast.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("group_index", Integer, nullable=False),
    Column("epoch", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("lease_until", Float),
    Column("worker", String(120)),
    Column("committed", Integer, nullable=False, default=0),
    Column("done", Boolean, nullable=False, default=False),
    UniqueConstraint("forecast_id", "kind", "group_index"),
    Index("work_to_do", "done", "lease_until"),
)
"""`epoch` is the fencing token: each claim increases it. `attempts` counts claims since the last progress."""

events = Table(
    "event",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("forecast_id", String(40), ForeignKey("forecast.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("detail", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Index("event_by_forecast", "forecast_id", "id"),
)

workers = Table(
    "worker",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("device", String(64), nullable=False),
    Column("started", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("kind", String(100)),
    Column("threads", Integer),
    Column("idle_until", Float),
)
"""`kind` (of the device) and `threads` identify the machine that speeds are measured for.

`idle_until` is set by a worker that finds no work: until then it counts as ready to receive groups.
"""

speeds = Table(
    "speed",
    metadata,
    Column("checkpoint_digest", String(64), primary_key=True),
    Column("device", String(100), primary_key=True),
    Column("threads", Integer, primary_key=True),
    Column("group_size", Integer, primary_key=True),
    Column("warm_start_seconds", Float),
    Column("flow_seconds", Float),
    Column("beside_seconds", Float),
    Column("memory_bytes", Float),
    Column("store_ratio", Float),
    Column("metadata_bytes", Float),
    Column("updated", Float, nullable=False),
)
"""Running averages of the seconds and memory of a group's lead time, and of a store's size; null: not measured yet."""

api_keys = Table(
    "api_key",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
)
"""API keys; only the SHA-256 of a secret is stored."""

diagnostics = Table(
    "diagnostic",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("forecast_id", String(40), ForeignKey("forecast.id", ondelete="CASCADE"), nullable=False),
    Column("model", String(100), nullable=False),
    Column("lead_hours", Integer, nullable=False),
    Column("figures", JSON, nullable=False),
    UniqueConstraint("forecast_id", "lead_hours"),
    Index("diagnostic_by_model", "model", "lead_hours", "id"),
)
"""Diagnostics of the whole ensemble at a lead time; they need no truth."""

verifications = Table(
    "verification",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("forecast_id", String(40), ForeignKey("forecast.id", ondelete="CASCADE"), nullable=False),
    Column("model", String(100), nullable=False),
    Column("reference", String(40), nullable=False),
    Column("scores", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Index("verification_by_forecast", "forecast_id", "id"),
    Index("verification_by_model", "model", "reference", "id"),
)
"""Scores of a forecast against the truth that `reference` names."""

batch_sizes = Table(
    "batch_size",
    metadata,
    Column("checkpoint_digest", String(64), primary_key=True),
    Column("device", String(100), primary_key=True),
    Column("members", Integer, nullable=False),
)
"""The number of members that a kind of device computes fastest in one batch."""

samples = Table(
    "worker_sample",
    metadata,
    Column("worker", String(120), primary_key=True),
    Column("sample", String(300), primary_key=True),
    Column("value", Float, nullable=False),
)
"""Samples of the metrics of each worker process; counters of removed workers are kept as one sum."""
