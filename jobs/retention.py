"""Retention of data: deleted by its owner, or expired by age; the record of a forecast is kept."""

import errno
import logging
import time
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, select, update

from jobs.audit import Action, append_audit
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.rows.clock import time_of_query
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Data, Status
from jobs.rows.tables import forecasts
from jobs.schedule_verifications import select_kept
from storage.paths import StoragePath, storage_path

ABANDONED_SECONDS = 3600.0
"""Seconds after which a folder without a row belongs to no request that is still in progress."""
_WRITING_SECONDS = 300.0
"""Seconds that a file is written at most: a temporary one that is older belongs to a process that was killed."""

_log = logging.getLogger(__name__)


def delete_data(database: Database, data: Path | StoragePath, forecast_id: str, owner: str) -> ForecastRecord:
    """Remove the data of a forecast that has ended, and return its record; an open forecast is returned unchanged.

    Raises `ForecastNotFoundError`. Takes the `Database`, not a `Connection`: the folder is removed after the
    transaction that marks the data as deleted, which also succeeds on a full disk.
    """

    def mark(connection: Connection) -> ForecastRecord:
        changed = connection.execute(
            update(forecasts)
            .where(forecasts.c.id == forecast_id, forecasts.c.owner == owner, forecasts.c.status.not_in(OPEN))
            .where(forecasts.c.data == Data.AVAILABLE)
            .values(data=Data.DELETED)
        )
        if changed.rowcount:
            append_audit(connection, Action.DELETE, forecast_id)
        return read_forecast(connection, forecast_id, owner)

    record = database.write_at_any_cost(mark)
    if record.data != Data.AVAILABLE:
        ForecastFolder(data, forecast_id).path.remove()
    return record


def expire_data(connection: Connection, keep_hours: float | None) -> None:
    """Mark the data of forecasts as expired that ended longer ago than their own `retention_hours`, or `keep_hours`.

    Without `keep_hours`, the data of other forecasts does not expire. Data of scheduled forecasts that are not verified
    yet does not either.
    """
    if keep_hours is not None:
        _expire(connection, forecasts.c.finished < time_of_query() - keep_hours * 3600)
    _expire(
        connection,
        forecasts.c.retention_hours.is_not(None),
        forecasts.c.finished < time_of_query() - forecasts.c.retention_hours * 3600,
    )


def expiry_time(record: ForecastRecord, keep_hours: float | None) -> float | None:
    """Return when the data of a forecast expires, in seconds since 1970; None before its end and without a limit."""
    hours = [each for each in (record.retention_hours, keep_hours) if each is not None]
    return record.finished + min(hours) * 3600 if hours and record.finished is not None else None


def _expire(connection: Connection, *conditions: ColumnElement[bool]) -> None:
    connection.execute(
        update(forecasts)
        .where(forecasts.c.data == Data.AVAILABLE, forecasts.c.id.not_in(select_kept()), *conditions)
        .values(data=Data.EXPIRED)
    )


def sweep_folders(database: Database, data: Path | StoragePath) -> int:
    """Remove the folders of deleted and expired forecasts; move those without a row to `lost/`, and return how many.

    The number is that of all folders in `lost/`. A folder without a row is moved an hour after its last change: it
    remains if the service was killed during a submission, or if the database was restored from an older copy. If its
    row appears later, it is moved back. Nothing is ever removed from `lost/`.

    Of forecasts that ended within the last hour, it also removes what killed processes left half-written, and the
    folders that only workers read if the forecast was successful.
    """
    folders = named_folders(storage_path(data) / "forecasts", "fc_")
    lost = set(find_lost_folders(data))
    with database.read() as connection:
        rows = connection.execute(select(forecasts.c.id, forecasts.c.data))
        known: dict[str, str] = {row.id: row.data for row in rows}
        is_recent = forecasts.c.finished > time_of_query() - ABANDONED_SECONDS
        rows = connection.execute(select(forecasts.c.id, forecasts.c.status).where(is_recent))
        just_ended: dict[str, str] = {row.id: row.status for row in rows}
    for forecast_id, folder in folders.items():
        with suppress(FileNotFoundError):  # another process has moved or removed it
            if forecast_id not in known:
                if time.time() - folder.modified_time() > ABANDONED_SECONDS:
                    lost.add(move_aside(folder, data, forecast_id, "forecast"))
            elif known[forecast_id] != Data.AVAILABLE:
                folder.remove()
            elif forecast_id in just_ended:
                folder.remove_partial_files(_WRITING_SECONDS)
                if just_ended[forecast_id] == Status.SUCCESSFUL:
                    ForecastFolder(data, forecast_id).clear_attempts()
    returned = {
        name
        for name in lost
        if known.get(name) == Data.AVAILABLE and move_back(data, name, ForecastFolder(data, name).path, "forecast")
    }
    return len(lost - returned)


def find_lost_folders(data: Path | StoragePath) -> dict[str, StoragePath]:
    """Return by name the folders of forecasts and of kept states that had no row and were moved aside."""
    return named_folders(_lost(data), "fc_") | named_folders(_lost(data), "st_")


def _lost(data: Path | StoragePath) -> StoragePath:
    return storage_path(data) / "lost"


def named_folders(parent: StoragePath, prefix: str) -> dict[str, StoragePath]:
    """Return by name the folders in `parent` whose names begin with `prefix`, in the order of their names."""
    folders = {folder.name: folder for folder in parent.folders()}
    return {name: folders[name] for name in sorted(folders) if name.startswith(prefix)}


def move_aside(folder: StoragePath, data: Path | StoragePath, name: str, kind: str) -> str:
    """Move a folder without a row to `lost/`, and return its name there: the id, with a number if that is taken.

    `kind` is what the log calls it: `forecast` or `state`.
    """
    for lost_name in chain([name], (f"{name}.{number}" for number in count(1))):
        try:
            folder.move(_lost(data) / lost_name)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        else:
            break
    _log.warning(
        "%s %s: it has no row in the database, so its folder was moved to lost/%s. `warmcast storage show` lists "
        "such folders, `warmcast storage delete-lost` deletes them.",
        kind,
        name,
        lost_name,
    )
    return lost_name


def move_back(data: Path | StoragePath, name: str, folder: StoragePath, kind: str) -> bool:
    """Move a folder back from `lost/` to `folder`, unless that exists; return whether it was moved."""
    try:
        (_lost(data) / name).move(folder)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.ENOENT}:
            raise
        return False
    _log.warning("%s %s: it has a row in the database again, so its folder was moved back.", kind, name)
    return True
