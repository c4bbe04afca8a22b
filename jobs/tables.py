"""The rows that are the truth: forecasts, their work, their events, and workers. Times are seconds since 1970."""

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
)  # fmt: skip

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
"""`lead_times` counts those that all groups have; the first of them was there at `first_lead_time`.

`summarised` counts those of them whose diagnostics and summary a worker has taken up.

`expected_bytes` is what the store was planned to take, `store_bytes` what it took.
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
"""`epoch` is the fencing token: it rises with each claim. `attempts` counts claims since the last progress."""

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
"""`kind` of device and `threads` are what speeds are measured for.

`idle_until` is set by a worker that looks for work in vain: it takes what is handed over before then.
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
"""Running values of what a lead time of a group takes, and of what a store does; null is not measured yet."""

api_keys = Table(
    "api_key",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
)
"""Only the SHA-256 of a key is kept."""

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
"""What the whole ensemble looks like at a lead time, without any truth."""

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
"""Scores against a truth; `reference` says which."""

batch_sizes = Table(
    "batch_size",
    metadata,
    Column("checkpoint_digest", String(64), primary_key=True),
    Column("device", String(100), primary_key=True),
    Column("members", Integer, nullable=False),
)
"""How many members a kind of device computes together best."""

samples = Table(
    "worker_sample",
    metadata,
    Column("worker", String(120), primary_key=True),
    Column("sample", String(300), primary_key=True),
    Column("value", Float, nullable=False),
)
"""What each worker process has counted so far, as samples of metrics; of workers long gone the sum is kept."""
