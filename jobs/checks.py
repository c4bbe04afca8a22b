"""Rows of checks: when the files of a forecast were checked last, and which are damaged."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select, update

from jobs.forecasts import ForecastRecord, read_forecasts
from jobs.rows.clock import now
from jobs.rows.states import Data
from jobs.rows.tables import forecasts
from weather.errors import DamagedError

MAX_NAMED = 20
"""Number of damaged files that a row names."""

_HAS_DATA = forecasts.c.data == Data.AVAILABLE

_NEVER_CHECKED = (
    select(forecasts.c.id, forecasts.c.finished.label("time"))
    .where(_HAS_DATA, forecasts.c.checked == 0, forecasts.c.finished > 0)
    .order_by(forecasts.c.finished)
    .limit(1)
)
"""The forecast with data that ended first of those that were never checked: one row of an index, however many wait."""

_CHECKED_LONGEST_AGO = (
    select(forecasts.c.id, forecasts.c.checked.label("time"))
    .where(_HAS_DATA, forecasts.c.checked > 0)
    .order_by(forecasts.c.checked)
    .limit(1)
)


def find_due(connection: Connection, before: float) -> ForecastRecord | None:
    """Return the forecast with data that has ended and was checked longest ago, and before a time; None if none was.

    `before` is in seconds since 1970 by the clock of the database. Forecasts that were never checked come first, in the
    order of their ends.
    """
    first = connection.execute(_NEVER_CHECKED).first()
    if first is None:
        first = connection.execute(_CHECKED_LONGEST_AGO.where(forecasts.c.checked < before)).first()
    return None if first is None else read_forecasts(connection, [first.id])[first.id]


def list_damaged(connection: Connection) -> list[str]:
    """Return the ids of the forecasts with data of which files are known to be damaged, the oldest first."""
    query = select(forecasts.c.id).where(forecasts.c.damaged_files > 0, _HAS_DATA)
    return list(connection.scalars(query.order_by(forecasts.c.created)))


def record_check(connection: Connection, forecast_id: str, damage: Sequence[DamagedError]) -> None:
    """Record that all files of a forecast were checked now, and which of them are damaged."""
    _update(connection, forecast_id, damage, checked=now())


def record_damage(connection: Connection, forecast_id: str, damage: DamagedError) -> None:
    """Record a damaged file that was found otherwise, unless some are known already."""
    known = select(forecasts.c.damaged_files).where(forecasts.c.id == forecast_id)
    if not connection.scalar(known):
        _update(connection, forecast_id, [damage])


def count_damaged(connection: Connection) -> int:
    """Return the number of forecasts with data of which files are known to be damaged."""
    query = select(func.count()).select_from(forecasts).where(forecasts.c.damaged_files > 0, _HAS_DATA)
    return connection.scalar(query) or 0


def seconds_unchecked(connection: Connection) -> float:
    """Return the seconds since the least recent check of any data; those since its end if it was never checked."""
    firsts = [connection.execute(query).first() for query in (_NEVER_CHECKED, _CHECKED_LONGEST_AGO)]
    oldest = min((first.time for first in firsts if first is not None), default=None)
    return 0.0 if oldest is None else max(connection.scalar(select(now() - oldest)) or 0.0, 0.0)


def current_time(connection: Connection) -> float:
    """Return the time by the clock of the database, in seconds since 1970."""
    return float(connection.scalar(select(now())) or 0.0)


def _update(connection: Connection, forecast_id: str, damage: Sequence[DamagedError], **values: object) -> None:
    named = [{"file": error.file, "reason": error.reason} for error in damage[:MAX_NAMED]]
    connection.execute(
        update(forecasts)
        .where(forecasts.c.id == forecast_id)
        .values(damaged_files=len(damage), damage=named or None, **values)
    )
