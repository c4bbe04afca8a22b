"""What the forecasts of each owner have used, by day and in all, from counters that triggers keep."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, func, select

from jobs.rows.clock import now
from jobs.rows.tables import usage, usage_day

_DAY_SECONDS = 86400


@dataclass(frozen=True)
class Counts:
    """Forecasts that were accepted, of them with uploaded files, that ended by status, and computed evaluations."""

    accepted: int
    uploads: int
    successful: int
    failed: int
    dismissed: int
    evaluations: int


@dataclass(frozen=True)
class OwnerUsage:
    """The usage of an owner: in all, and by day (days since 1970, UTC) for those days on which there was some."""

    owner: str
    open_forecasts: int
    kept_bytes: int
    total: Counts
    days: Mapping[int, Counts]


_NAMES = tuple(field.name for field in fields(Counts))


def list_usage(connection: Connection, owner: str | None, num_days: int) -> list[OwnerUsage]:
    """Return the usage of an owner, or of all owners that ever submitted, with the last `num_days` days, today too."""
    kept, totals = (
        select(usage),
        select(usage_day.c.owner, *(func.sum(usage_day.c[name]).label(name) for name in _NAMES)),
    )
    first = int(float(connection.scalar(select(now())) or 0.0) // _DAY_SECONDS) - num_days + 1
    days = select(usage_day).where(usage_day.c.day >= first).order_by(usage_day.c.day)
    if owner is not None:
        kept, totals, days = (
            kept.where(usage.c.owner == owner),
            totals.where(usage_day.c.owner == owner),
            days.where(usage_day.c.owner == owner),
        )
    total_of = {row.owner: _counts(row) for row in connection.execute(totals.group_by(usage_day.c.owner))}
    days_of: dict[str, dict[int, Counts]] = {}
    for row in connection.execute(days):
        days_of.setdefault(row.owner, {})[row.day] = _counts(row)
    none = Counts(0, 0, 0, 0, 0, 0)
    return [
        OwnerUsage(
            row.owner,
            row.waiting + row.running,
            row.kept_bytes,
            total_of.get(row.owner, none),
            days_of.get(row.owner, {}),
        )
        for row in connection.execute(kept.order_by(usage.c.owner))
    ]


def _counts(row: Any) -> Counts:
    return Counts(*(int(row._mapping[name]) for name in _NAMES))
