"""The table of the deliveries of callbacks."""

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from jobs.rows.tables import metadata

deliveries = Table(
    "delivery",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("forecast_id", String(40), ForeignKey("forecast.id", ondelete="CASCADE"), nullable=False),
    Column("webhook_id", String(40), nullable=False, unique=True),
    Column("event", String(16), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("next_attempt", Float),
    Column("finished", Float),
    Column("status_code", Integer),
    Column("error", String(200)),
    Index("delivery_by_time", "state", "next_attempt"),
    Index("delivery_by_forecast", "forecast_id", "id"),
)
"""What is sent to the callback of a forecast; `attempts` counts claims, and `next_attempt` is null at the end."""
