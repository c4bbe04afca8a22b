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
    text,
)

metadata = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")
_IS_NO_PART = text("batch_id IS NULL")
"""The condition of indexes without the parts of batches, which lists of forecasts do not have."""

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
    Column("model", String(255), nullable=False, default=""),
    Column("checkpoint_digest", String(64), nullable=False, default=""),
    Column("group_size", Integer, nullable=False, default=1),
    Column("num_groups", Integer, nullable=False, default=1),
    Column("nfe", Integer, nullable=False, default=1),
    Column("evaluations", BigInteger, nullable=False, default=0),
    Column("number", BigInteger, nullable=False, default=0),
    Column("checked", Float, nullable=False, default=0.0),
    Column("damaged_files", Integer, nullable=False, default=0),
    Column("damage", JSON),
    Column("mode", JSON(none_as_null=True)),
    Column("labels", JSON(none_as_null=True)),
    Column("retention_hours", Float),
    Column("batch_id", String(40)),
    Column("batch_index", Integer),
    Column("phase", String(16)),
    Column("alerts", JSON(none_as_null=True)),
    Column("alert_state", JSON(none_as_null=True)),
    Column("callback", JSON(none_as_null=True)),
    UniqueConstraint("owner", "idempotency_key"),
    Index("forecast_by_status", "status", "created"),
    Index("forecast_by_deadline", "status", "deadline"),
    Index("forecast_by_end", "status", "finished"),
    Index("forecast_by_data", "data", "finished"),
    Index("forecast_by_retention", "data", "retention_hours"),
    Index("forecast_by_creation", "created", "id"),
    Index("forecast_by_owner", "owner", "created", "id", sqlite_where=_IS_NO_PART, postgresql_where=_IS_NO_PART),
    Index(
        "forecast_by_owner_and_status",
        "owner",
        "status",
        "created",
        "id",
        sqlite_where=_IS_NO_PART,
        postgresql_where=_IS_NO_PART,
    ),
    Index("forecast_by_batch", "batch_id", "batch_index", unique=True),
    Index("forecast_in_queue", "owner", "status", "priority", "created", "id"),
    Index("forecast_by_check", "data", "checked", "finished"),
    Index("forecast_by_damage", "damaged_files"),
)
"""`lead_times` counts the lead times that all groups have; the first of them was complete at `first_lead_time`.

`summarised` counts the lead times whose diagnostics and summary are assigned to a worker.

`expected_bytes` is the planned size of the store on disk, `store_bytes` its real size.

`evaluations` counts those of both networks, each for one member. `number` counts the forecasts of the owner in the
order of acceptance. `model`, `checkpoint_digest`, `group_size`, `num_groups` and `nfe` repeat values of `request`.

`checked` is when all files were checked last, 0 if never; `damaged_files` are known to be damaged, and
`damage` lists the first of them.

`mode` is how the networks are evaluated, settled by the worker that claims the forecast first.

`labels` and `retention_hours` are the caller's, null if there are none.

`batch_id` and `batch_index` are set for a part of a batch. `phase` is what a worker has reported last, null before.

`alerts` are those of the caller, and `alert_state` is how far they are evaluated; null if there are none.
"""

batches = Table(
    "batch",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("idempotency_key", String(255)),
    Column("request_digest", String(64), nullable=False),
    Column("request", JSON, nullable=False),
    Column("init_times", JSON, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("owner", "idempotency_key"),
    Index("batch_by_owner", "owner", "created", "id"),
)
"""Forecasts that were submitted together, its parts: one of each of `init_times`, in their order."""

usage = Table(
    "usage",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("accepted", BigInteger, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    Column("last_started", Float, nullable=False),
    Column("kept_bytes", BigInteger, nullable=False),
    Column("store_bytes", BigInteger, nullable=False),
    Column("day", Integer, nullable=False),
    Column("day_evaluations", BigInteger, nullable=False),
)
"""Counters of each owner's forecasts, so that neither limits nor the queue need their rows.

Triggers of the database keep them, in the statement that changes a row of `forecast`; nothing else may write them. That
there is a row for each owner, and none for all, keeps the transactions of one owner from waiting for those of another.

`accepted` counts all forecasts, `waiting` and `running` the open ones; `last_started` is the newest start. `kept_bytes`
are the bytes of available data: planned ones of an open forecast, those of the complete lead times of a failed or
cancelled one. `store_bytes` are those of successful forecasts alone. `day_evaluations` counts those of the forecasts
accepted on `day` (days since 1970, UTC), without those that were not computed because the forecast failed or was
cancelled.
"""

usage_day = Table(
    "usage_day",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("day", Integer, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in ("accepted", "uploads", "successful", "failed")),
    *(Column(name, BigInteger, nullable=False) for name in ("dismissed", "evaluations")),
)
"""Counters of each owner and day (days since 1970, UTC), never decreasing; kept by triggers, like `usage`.

`accepted` and `uploads` count on the day of acceptance, the others on that of the end; `evaluations` are those that
were computed.
"""

waiting_work = Table(
    "waiting_work",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("checkpoint_digest", String(64), primary_key=True),
    Column("group_size", Integer, primary_key=True),
    Column("steps", BigInteger, nullable=False),
    Column("flow_steps", BigInteger, nullable=False),
    Column("expected_bytes", BigInteger, nullable=False),
)
"""Sums over the waiting forecasts of each owner: lead times of groups, evaluations of the flow in them, planned bytes.

Kept by triggers, like `usage`.
"""

ended = Table(
    "ended",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("model", String(255), primary_key=True),
    Column("name", String(40), primary_key=True),
    Column("bucket", String(16), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
)
"""Forecasts counted by what happened to them, never decreasing: by final status, and by bucket of each duration.

`name` is `status`, or the duration `wait`, `run` or `first_lead_time`; `seconds` is the sum of the durations. Kept by
triggers, like `usage`.
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
    Index("event_by_kind", "kind", "created"),
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
    Column("open_forecasts", Integer),
    Column("forecast_evaluations", BigInteger),
    Column("day_evaluations", BigInteger),
    Column("kept_bytes", BigInteger),
    Column("uploads", Integer),
    Column("high_priority", Boolean),
    Column("role", String(16), nullable=False, default="submitter"),
    Column("reads", String(64)),
    Column("expires", Float),
    Column("last_used", Float),
    Column("previous_digest", String(64)),
    Column("previous_until", Float),
    Index("api_key_by_previous_digest", "previous_digest", unique=True),
)
"""API keys; only the SHA-256 of a secret is stored. The limits of a key are those of the settings where null.

`reads` is the owner whose forecasts a key of the role `reader` reads. `last_used` is exact to a minute. After a
rotation, the secret before it, of `previous_digest`, is valid until `previous_until`.
"""

audit = Table(
    "audit",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("role", String(16)),
    Column("action", String(16), nullable=False),
    Column("subject", String(64)),
    Column("address", String(64)),
    Column("request_id", String(64)),
    Column("outcome", String(16), nullable=False),
    Column("number", BigInteger, nullable=False),
    Index("audit_by_time", "time"),
    Index("audit_by_actor", "actor", "id"),
    Index("audit_by_action", "action", "id"),
)
"""The audit log, see `jobs.audit`; an entry of refused requests counts `number` of them."""

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

batch_verifications = Table(
    "batch_verification",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("batch_id", String(40), ForeignKey("batch.id", ondelete="CASCADE"), nullable=False),
    Column("reference", String(40), nullable=False),
    Column("starts", JSON, nullable=False),
    Column("scores", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Index("verification_by_batch", "batch_id", "id"),
)
"""Scores of the parts of a batch together against a truth; `starts` are the ids of the forecasts that it has."""

batch_sizes = Table(
    "batch_size",
    metadata,
    Column("checkpoint_digest", String(64), primary_key=True),
    Column("device", String(100), primary_key=True),
    Column("members", Integer, nullable=False),
)
"""The number of members that a kind of device computes fastest in one batch."""

compilations = Table(
    "compilation",
    metadata,
    Column("checkpoint_digest", String(64), primary_key=True),
    Column("device", String(100), primary_key=True),
    Column("seconds", Float, nullable=False),
)
"""The seconds for which a worker on a kind of device compiled the networks of a checkpoint last."""

samples = Table(
    "worker_sample",
    metadata,
    Column("worker", String(120), primary_key=True),
    Column("sample", String(300), primary_key=True),
    Column("value", Float, nullable=False),
)
"""Samples of the metrics of each worker process; counters of removed workers are kept as one sum."""

kept_states = Table(
    "state",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("idempotency_key", String(255)),
    Column("request_digest", String(64), nullable=False),
    Column("description", JSON, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    Column("deleted", Float),
    UniqueConstraint("owner", "idempotency_key"),
    Index("state_by_owner", "owner", "created", "id"),
    Index("state_by_creation", "created"),
    Index("state_by_deletion", "deleted"),
)
"""Initial states that their owners keep for several forecasts.

A row with `deleted` counts as missing; it is removed after the folder of the state.
"""

installation = Table(
    "installation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("identity", String(32), nullable=False),
    Column("is_bound", Boolean, nullable=False),
)
"""One row: the identity that the data place of these forecasts has too, once `is_bound` is true."""
