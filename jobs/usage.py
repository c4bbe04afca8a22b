"""What the forecasts of each owner have used, by day and in all, from counters that triggers keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, func, select

from jobs.kept_states import sum_state_bytes
from jobs.rows.clock import now
from jobs.rows.tables import usage, usage_day

_DAY_SECONDS = 86400
_ACTIVE_DAYS = 30


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
    """The usage of an owner: in all, and by day (days since 1970, UTC) for those days on which there was some.

    `kept_bytes` are those of its forecasts and of its kept initial states, as its limit counts them.
    """

    owner: str
    open_forecasts: int
    kept_bytes: int
    total: Counts
    days: Mapping[int, Counts]


_NAMES = tuple(field.name for field in fields(Counts))


def list_usage(connection: Connection, owner: str | None, num_days: int) -> list[OwnerUsage]:
    """Return the usage of an owner, or of all owners that ever used anything, with the last `num_days` days."""
    return _read(connection, None if owner is None else [owner], num_days)


def list_most_active(connection: Connection, limit: int) -> list[OwnerUsage]:
    """Return the usage of at most `limit` owners without its days: of those with most evaluations in the last month."""
    first = _first_day(connection, _ACTIVE_DAYS)
    active = select(usage_day.c.owner).where(usage_day.c.day >= first).group_by(usage_day.c.owner)
    most = func.sum(usage_day.c.evaluations).desc(), func.sum(usage_day.c.accepted).desc()
    owners = connection.scalars(active.order_by(*most, usage_day.c.owner).limit(limit)).all()
    return _read(connection, owners, 0)


def _read(connection: Connection, owners: Sequence[str] | None, num_days: int) -> list[OwnerUsage]:
    kept, totals = (
        select(usage),
        select(usage_day.c.owner, *(func.sum(usage_day.c[name]).label(name) for name in _NAMES)),
    )
    days = select(usage_day).where(usage_day.c.day >= _first_day(connection, num_days)).order_by(usage_day.c.day)
    if owners is not None:
        kept, totals, days = (
            kept.where(usage.c.owner.in_(owners)),
            totals.where(usage_day.c.owner.in_(owners)),
            days.where(usage_day.c.owner.in_(owners)),
        )
    total_of = {row.owner: _counts(row) for row in connection.execute(totals.group_by(usage_day.c.owner))}
    days_of: dict[str, dict[int, Counts]] = {}
    for row in connection.execute(days):
        days_of.setdefault(row.owner, {})[row.day] = _counts(row)
    rows = {row.owner: (row.waiting + row.running, row.kept_bytes) for row in connection.execute(kept)}
    state_bytes, none = sum_state_bytes(connection, owners), Counts(0, 0, 0, 0, 0, 0)
    return [
        OwnerUsage(
            owner,
            num_open,
            kept_bytes + state_bytes.get(owner, 0),
            total_of.get(owner, none),
            days_of.get(owner, {}),
        )
        for owner in sorted({*rows, *state_bytes})
        for num_open, kept_bytes in (rows.get(owner, (0, 0)),)
    ]


def _first_day(connection: Connection, num_days: int) -> int:
    """Return the first of the last `num_days` days, of which today is the last."""
    return int(float(connection.scalar(select(now())) or 0.0) // _DAY_SECONDS) - num_days + 1


def _counts(row: Any) -> Counts:
    return Counts(*(int(row._mapping[name]) for name in _NAMES))
