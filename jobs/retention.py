"""How long data is kept: deleted by its owner, expired by age; the record of a forecast stays."""

import time
from pathlib import Path

from sqlalchemy import select, update

from jobs.clock import now
from jobs.database import Database
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.states import OPEN, Data, Status
from jobs.tables import forecasts
from storage.paths import StoragePath, storage_path

_ABANDONED_SECONDS = 3600.0


def delete_data(database: Database, data: Path | StoragePath, forecast_id: str, owner: str) -> ForecastRecord:
    """Remove the data of a forecast that has ended, and return its record.

    Raises `ForecastNotFoundError`. One that has not ended is returned as it is.
    """
    with database.write() as connection:
        connection.execute(
            update(forecasts)
            .where(forecasts.c.id == forecast_id, forecasts.c.owner == owner, forecasts.c.status.not_in(OPEN))
            .where(forecasts.c.data == Data.AVAILABLE)
            .values(data=Data.DELETED)
        )
    record = read_forecast(database, forecast_id, owner)
    if record.data != Data.AVAILABLE:
        ForecastFolder(data, forecast_id).path.remove()
    return record


def expire_data(database: Database, keep_hours: float | None) -> None:
    """Let the data of forecasts expire that ended more than `keep_hours` ago."""
    if keep_hours is not None:
        with database.write() as connection:
            connection.execute(
                update(forecasts)
                .where(forecasts.c.data == Data.AVAILABLE, forecasts.c.finished < now() - keep_hours * 3600)
                .values(data=Data.EXPIRED)
            )


def sweep_folders(database: Database, data: Path | StoragePath) -> None:
    """Remove folders whose data is gone by their row, and those that no row speaks of, an hour after their last change.

    A worker that had not noticed, or a service that was killed in between, may have left them; so it may what only
    workers read, of a forecast that became successful within the last hour.
    """
    folders = {
        place.name: place for place in (storage_path(data) / "forecasts").folders() if place.name.startswith("fc_")
    }
    with database.read() as connection:
        rows = connection.execute(select(forecasts.c.id, forecasts.c.data))
        known: dict[str, str] = {row.id: row.data for row in rows}
        just_ended = select(forecasts.c.id).where(
            forecasts.c.status == Status.SUCCESSFUL, forecasts.c.finished > now() - _ABANDONED_SECONDS
        )
        successful = list(connection.scalars(just_ended))
    for forecast_id, place in folders.items():
        abandoned = forecast_id not in known and time.time() - place.modified_time() > _ABANDONED_SECONDS
        if abandoned or known.get(forecast_id, Data.AVAILABLE) != Data.AVAILABLE:
            place.remove()
        elif forecast_id in successful:
            ForecastFolder(data, forecast_id).clear_attempts()
