"""What lies ahead of open forecasts: their place in the queue, the wait until their start and the time to their end."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from jobs.dispatching.fairness import list_waiting
from jobs.forecasts import ForecastRecord
from jobs.planning.estimates import Estimator, demand_of
from jobs.planning.measured import load_estimator
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Status
from service.batches import BatchReader

_POSITIONS_SECONDS = 1.0
"""Seconds for which the order of the queue is kept: reading it takes time in proportion to the waiting forecasts."""


@dataclass(frozen=True)
class Outlook:
    """The planned seconds until the end of a forecast, and of a waiting one the seconds until its start and its place.

    None is "never measured"; also `wait_seconds` and `position` of a forecast that does not wait.
    """

    seconds: float | None = None
    wait_seconds: float | None = None
    position: int | None = None


UNKNOWN = Outlook()


class Outlooks:
    """Outlooks of single forecasts, for which all requests that wait share one reading of the measurements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._positions: Mapping[str, int] = {}
        self._read = -_POSITIONS_SECONDS
        self._readings = BatchReader(self._load, "plans")

    async def find(self, record: ForecastRecord, now: float) -> Outlook:
        """Return the same as `read_outlooks` for one forecast; its place may be a second old."""
        if not _is_pending(record):
            return UNKNOWN
        key = record.id if record.status == Status.ACCEPTED else None
        reading = await self._readings.read(key)
        assert reading is not None
        return _look_ahead(*reading, record, now)

    def close(self) -> None:
        """End the thread that reads the measurements."""
        self._readings.close()

    def _load(self, waiting: Sequence[str | None]) -> dict[str | None, tuple[Estimator, Mapping[str, int]]]:
        with self._database.read() as connection:
            estimator, ids = load_estimator(connection), {each for each in waiting if each is not None}
            is_old = time.monotonic() - self._read > _POSITIONS_SECONDS
            if ids and (is_old or not ids <= self._positions.keys()):
                self._positions, self._read = _read_positions(connection), time.monotonic()
        return dict.fromkeys(waiting, (estimator, self._positions))


def read_outlooks(database: Database, records: Sequence[ForecastRecord], now: float) -> dict[str, Outlook]:
    """Return, by id, the outlooks of open forecasts that have no complete lead time yet.

    `now` is in seconds since 1970. For the others, the pace of their lead times says more.
    """
    pending = [record for record in records if _is_pending(record)]
    if not pending:
        return {}
    is_waiting = any(record.status == Status.ACCEPTED for record in pending)
    with database.read() as connection:
        estimator, positions = load_estimator(connection), _read_positions(connection) if is_waiting else {}
    return {record.id: _look_ahead(estimator, positions, record, now) for record in pending}


def _read_positions(connection: Connection) -> Mapping[str, int]:
    return {forecast_id: position for position, forecast_id in enumerate(list_waiting(connection))}


def _is_pending(record: ForecastRecord) -> bool:
    return record.status in OPEN and not record.lead_times


def _look_ahead(estimator: Estimator, positions: Mapping[str, int], record: ForecastRecord, now: float) -> Outlook:
    seconds = estimator.seconds(demand_of(record.request, record.num_lead_times))
    if record.started is not None:
        passed = max(now - record.started, 0.0)
        return Outlook(None if seconds is None else max(seconds - passed, 0.0))
    wait = estimator.wait_seconds(record.owner, record.number)
    total = None if seconds is None or wait is None else max(wait + seconds, 0.0)
    return Outlook(total, wait, positions.get(record.id))
