"""Retention of data: deleted by its owner, or expired by age; the record of a forecast is kept."""

import time
from pathlib import Path

from sqlalchemy import Connection, select, update

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.rows.clock import now
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Data, Status
from jobs.rows.tables import forecasts
from storage.paths import StoragePath, storage_path

_ABANDONED_SECONDS = 3600.0


def delete_data(database: Database, data: Path | StoragePath, forecast_id: str, owner: str) -> ForecastRecord:
    """Remove the data of a forecast that has ended, and return its record; an open forecast is returned unchanged.

    Raises `ForecastNotFoundError`. Takes the `Database`, not a `Connection`: the folder is removed after the
    transaction that marks the data as deleted.
    """
    with database.write() as connection:
        connection.execute(
            update(forecasts)
            .where(forecasts.c.id == forecast_id, forecasts.c.owner == owner, forecasts.c.status.not_in(OPEN))
            .where(forecasts.c.data == Data.AVAILABLE)
            .values(data=Data.DELETED)
        )
        record = read_forecast(connection, forecast_id, owner)
    if record.data != Data.AVAILABLE:
        ForecastFolder(data, forecast_id).path.remove()
    return record


def expire_data(connection: Connection, keep_hours: float | None) -> None:
    """Mark the data of forecasts that ended more than `keep_hours` ago as expired; None expires nothing."""
    if keep_hours is not None:
        connection.execute(
            update(forecasts)
            .where(forecasts.c.data == Data.AVAILABLE, forecasts.c.finished < now() - keep_hours * 3600)
            .values(data=Data.EXPIRED)
        )


def sweep_folders(database: Database, data: Path | StoragePath) -> None:
    """Remove the folders of deleted and expired forecasts, and those without a row, an hour after their last change.

    A folder remains if a worker still wrote to it after a deletion, or if the service was killed during a submission.
    Also removes the folders that only workers read of forecasts that became successful within the last hour.
    """
    root = storage_path(data) / "forecasts"
    folders = {folder.name: folder for folder in root.folders() if folder.name.startswith("fc_")}
    with database.read() as connection:
        rows = connection.execute(select(forecasts.c.id, forecasts.c.data))
        known: dict[str, str] = {row.id: row.data for row in rows}
        just_ended = select(forecasts.c.id).where(
            forecasts.c.status == Status.SUCCESSFUL, forecasts.c.finished > now() - _ABANDONED_SECONDS
        )
        successful = list(connection.scalars(just_ended))
    for forecast_id, folder in folders.items():
        abandoned = forecast_id not in known and time.time() - folder.modified_time() > _ABANDONED_SECONDS
        if abandoned or known.get(forecast_id, Data.AVAILABLE) != Data.AVAILABLE:
            folder.remove()
        elif forecast_id in successful:
            ForecastFolder(data, forecast_id).clear_attempts()
