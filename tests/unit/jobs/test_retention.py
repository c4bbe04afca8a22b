import os
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import update

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.retention import delete_data, sweep_folders
from jobs.rows.clock import now
from jobs.rows.database import Database
from jobs.rows.states import Data, Status
from jobs.rows.tables import forecasts
from tests.rows import cancel_forecast, expire_data, read_forecast

Submit = Callable[..., ForecastRecord]


def test_data_is_deleted_only_after_the_end_and_its_record_stays(
    database: Database, submit_forecast: Submit, tmp_path: Path
) -> None:
    forecast = submit_forecast()
    folder = ForecastFolder(tmp_path, forecast.id).path
    assert delete_data(database, tmp_path, forecast.id, forecast.owner).data == Data.AVAILABLE
    assert folder.is_dir()
    cancel_forecast(database, forecast.id, forecast.owner)
    assert delete_data(database, tmp_path, forecast.id, forecast.owner).data == Data.DELETED
    assert not folder.exists()
    assert read_forecast(database, forecast.id).request == forecast.request


def test_data_expires_some_hours_after_the_end(database: Database, submit_forecast: Submit, tmp_path: Path) -> None:
    old, young, running = submit_forecast(), submit_forecast(), submit_forecast()
    for forecast, hours in ((old, 3), (young, 1)):
        cancel_forecast(database, forecast.id, forecast.owner)
        with database.write() as connection:
            ended = update(forecasts).where(forecasts.c.id == forecast.id).values(finished=now() - 3600 * hours)
            connection.execute(ended)
    expire_data(database, None)
    assert read_forecast(database, old.id).data == Data.AVAILABLE
    expire_data(database, 2.0)
    sweep_folders(database, tmp_path)
    exists = {forecast.id: ForecastFolder(tmp_path, forecast.id).path.exists() for forecast in (old, young, running)}
    assert exists == {old.id: False, young.id: True, running.id: True}
    assert read_forecast(database, old.id).data == Data.EXPIRED


def test_folders_without_a_row_are_removed_after_an_hour(database: Database, tmp_path: Path) -> None:
    for name, age in (("fc_old", 7200), ("fc_new", 60)):
        folder = tmp_path / "forecasts" / name
        folder.mkdir(parents=True)
        changed = folder.stat().st_mtime - age
        os.utime(folder, (changed, changed))
    sweep_folders(database, tmp_path)
    assert [path.name for path in (tmp_path / "forecasts").iterdir()] == ["fc_new"]


def test_folders_of_attempts_are_removed_once_a_forecast_is_successful(
    database: Database, submit_forecast: Submit, tmp_path: Path
) -> None:
    """The last worker may have died after its commit and before it removed the folders."""
    successful, running = submit_forecast(), submit_forecast()
    for forecast in (successful, running):
        (ForecastFolder(tmp_path, forecast.id).attempt(0, 1) / "c").write(b"")
        (ForecastFolder(tmp_path, forecast.id).frames / "c").write(b"")
    with database.write() as connection:
        ended = update(forecasts).where(forecasts.c.id == successful.id)
        connection.execute(ended.values(status=Status.SUCCESSFUL, finished=now()))
    sweep_folders(database, tmp_path)
    for forecast, exists in ((successful, False), (running, True)):
        folder = ForecastFolder(tmp_path, forecast.id)
        assert [(folder.path / name).exists() for name in ("staging", "frames.zarr")] == [exists, exists]
        assert folder.store.exists()
