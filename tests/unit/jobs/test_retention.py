import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from jobs.dispatching.leases import claim
from jobs.errors import ForecastNotFoundError, LeaseLostError
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.handling import Handling
from jobs.retention import delete_data, sweep_folders
from jobs.rows.clock import now, time_of_query
from jobs.rows.database import Database
from jobs.rows.states import Data, Priority, Status
from jobs.rows.tables import forecasts
from tests.clock import MovableClock
from tests.rows import cancel_forecast, commit, expire_data, find_by_idempotency_key, list_forecasts, read_forecast

Submit = Callable[..., ForecastRecord]
Insert = Callable[..., ForecastRecord]


def _write_data(data: Path, forecast: ForecastRecord) -> ForecastFolder:
    """Write files into the folder of a forecast that has only rows."""
    folder = ForecastFolder(data, forecast.id)
    for path in (folder.store / "zarr.json", folder.attempt(0, 1) / "c", folder.frames / "c"):
        path.write(b"data")
    return folder


def _set_age(folder: Path, seconds: float) -> None:
    changed = folder.stat().st_mtime - seconds
    os.utime(folder, (changed, changed))


def test_data_is_deleted_only_after_the_end_and_its_record_stays(
    database: Database, submit_forecast: Submit, tmp_path: Path
) -> None:
    forecast = submit_forecast()
    folder = ForecastFolder(tmp_path, forecast.id).path
    assert delete_data(database, tmp_path, forecast.id, forecast.owner).data == Data.AVAILABLE
    assert folder.exists()
    cancel_forecast(database, forecast.id, forecast.owner)
    assert delete_data(database, tmp_path, forecast.id, forecast.owner).data == Data.DELETED
    assert not folder.exists()
    assert read_forecast(database, forecast.id).request == forecast.request
    assert [record.id for record in list_forecasts(database, "local", None, 10)] == [forecast.id]


def test_data_of_another_owner_is_not_deleted(database: Database, insert_rows: Insert, tmp_path: Path) -> None:
    forecast = insert_rows(owner="alice")
    folder = _write_data(tmp_path, forecast)
    cancel_forecast(database, forecast.id, "alice")
    for owner, forecast_id in (("bob", forecast.id), ("alice", "fc_unknown")):
        with pytest.raises(ForecastNotFoundError):
            delete_data(database, tmp_path, forecast_id, owner)
    assert folder.store.exists()
    assert read_forecast(database, forecast.id).data == Data.AVAILABLE


def test_data_can_be_deleted_again_after_a_crash_between_row_and_folder(
    database: Database, insert_rows: Insert, tmp_path: Path
) -> None:
    """The row is changed first: if the service is killed in between, a folder remains that clients cannot read."""
    forecast = insert_rows()
    folder = _write_data(tmp_path, forecast)
    cancel_forecast(database, forecast.id, "local")
    with database.write() as connection:
        connection.execute(update(forecasts).values(data=Data.DELETED))
    assert folder.path.exists()
    assert delete_data(database, tmp_path, forecast.id, "local").data == Data.DELETED
    assert not folder.path.exists()


def test_the_sweep_removes_the_folders_of_a_crash_between_row_and_folder(
    database: Database, insert_rows: Insert, tmp_path: Path
) -> None:
    left = {}
    for data in (Data.DELETED, Data.EXPIRED, Data.AVAILABLE):
        forecast = insert_rows()
        left[data] = _write_data(tmp_path, forecast).path
        with database.write() as connection:
            connection.execute(update(forecasts).where(forecasts.c.id == forecast.id).values(data=data))
    sweep_folders(database, tmp_path)
    assert {data: path.exists() for data, path in left.items()} == {
        Data.DELETED: False,
        Data.EXPIRED: False,
        Data.AVAILABLE: True,
    }


def test_a_folder_that_a_worker_wrote_after_the_deletion_is_removed_by_the_next_sweep(
    database: Database, insert_rows: Insert, tmp_path: Path
) -> None:
    forecast = insert_rows()
    (lease, *_) = claim(database, "slow", 30.0, 3)
    cancel_forecast(database, forecast.id, "local")
    delete_data(database, tmp_path, forecast.id, "local")
    folder = _write_data(tmp_path, forecast)
    with pytest.raises(LeaseLostError):
        commit(database, lease, 1, 30.0)
    sweep_folders(database, tmp_path)
    assert not folder.path.exists()


@pytest.mark.parametrize("status", [Status.SUCCESSFUL, Status.FAILED, Status.DISMISSED])
def test_what_killed_workers_left_half_written_is_removed_by_the_sweep(
    database: Database, insert_rows: Insert, tmp_path: Path, status: Status
) -> None:
    """A worker may be killed in a product of the last lead time while another one finishes the forecast."""
    ended, running = insert_rows(), insert_rows()
    with database.write() as connection:
        of_ended = update(forecasts).where(forecasts.c.id == ended.id)
        connection.execute(of_ended.values(status=status, finished=time_of_query()))
    left = {}
    for forecast in (ended, running):
        for age in (0, 1000):
            left[forecast.id, age] = _write_data(tmp_path, forecast).path / f"summary.zarr/.c.{age}.partial"
            left[forecast.id, age].write(b"half")
            os.utime(str(left[forecast.id, age]), (time.time() - age,) * 2)
    sweep_folders(database, tmp_path)
    assert [key for key, path in left.items() if not path.exists()] == [(ended.id, 1000)]


def test_deleted_data_does_not_expire_as_well(
    database: Database, insert_rows: Insert, tmp_path: Path, clock: MovableClock
) -> None:
    forecast = insert_rows()
    cancel_forecast(database, forecast.id, "local")
    delete_data(database, tmp_path, forecast.id, "local")
    clock.advance(7200)
    expire_data(database, 1.0)
    assert read_forecast(database, forecast.id).data == Data.DELETED


def test_data_expires_some_hours_after_the_end(
    database: Database, insert_rows: Insert, tmp_path: Path, clock: MovableClock
) -> None:
    running = insert_rows()
    old = insert_rows()
    cancel_forecast(database, old.id, old.owner)
    clock.advance(3600)
    young = insert_rows()
    cancel_forecast(database, young.id, young.owner)
    folders = {forecast.id: _write_data(tmp_path, forecast).path for forecast in (running, old, young)}
    clock.advance(3600 + 1)
    expire_data(database, None)
    assert read_forecast(database, old.id).data == Data.AVAILABLE
    expire_data(database, 2.0)
    sweep_folders(database, tmp_path)
    exists = {forecast_id: folder.exists() for forecast_id, folder in folders.items()}
    assert exists == {old.id: False, young.id: True, running.id: True}
    assert read_forecast(database, old.id).data == Data.EXPIRED
    assert read_forecast(database, running.id).data == Data.AVAILABLE, "a forecast that runs for long has not ended"


def test_data_expires_after_the_hours_of_its_own_forecast(
    database: Database, insert_rows: Insert, clock: MovableClock
) -> None:
    hours = (None, 1.0, 3.0)
    ids = [insert_rows(handling=Handling(retention_hours=each)).id for each in hours]
    running = insert_rows(handling=Handling(retention_hours=0.01)).id
    for forecast_id in ids:
        cancel_forecast(database, forecast_id, "local")
    for passed, keep_hours, available in ((2, None, {None, 3.0}), (2.5, 2.2, set()), (9, 2.0, set())):
        clock.advance(3600 * passed)
        expire_data(database, keep_hours)
        found = {each for each, key in zip(hours, ids, strict=True) if read_forecast(database, key).data == "available"}
        assert found == available
    assert read_forecast(database, running).data == Data.AVAILABLE, "it has not ended"


def test_an_expired_forecast_is_still_found_by_its_idempotency_key(
    database: Database, insert_rows: Insert, clock: MovableClock
) -> None:
    forecast = insert_rows(key="k")
    cancel_forecast(database, forecast.id, "local")
    clock.advance(7200)
    expire_data(database, 1.0)
    found = find_by_idempotency_key(database, "local", "k", forecast.request)
    assert found is not None
    assert (found.id, found.data) == (forecast.id, Data.EXPIRED)


def test_folders_without_a_row_are_moved_aside_after_an_hour_and_never_removed(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, age in (("fc_old", 3700), ("fc_new", 3500), ("fc_clock_ahead", -60)):
        folder = tmp_path / "forecasts" / name
        (folder / "ensemble.zarr").mkdir(parents=True)
        (folder / "receipt.json").write_text(name)
        _set_age(folder, age)
    assert sweep_folders(database, tmp_path) == 1
    assert {path.name for path in (tmp_path / "forecasts").iterdir()} == {"fc_new", "fc_clock_ahead"}
    assert (tmp_path / "lost/fc_old/receipt.json").read_text() == "fc_old"
    assert "forecast fc_old: it has no row in the database, so its folder was moved to lost/fc_old." in caplog.text
    _set_age(tmp_path / "lost/fc_old", 1e8)
    assert sweep_folders(database, tmp_path) == 1
    assert (tmp_path / "lost/fc_old").exists()


def test_a_folder_whose_row_comes_back_is_moved_back(
    database: Database, insert_rows: Insert, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The service ran on a database restored from an older copy, and then on the right one again."""
    folder = tmp_path / "forecasts/fc_001"
    for _ in range(2):  # the second one finds the name taken
        folder.mkdir(parents=True)
        (folder / "receipt.json").write_text("kept")
        _set_age(folder, 3700)
        sweep_folders(database, tmp_path)
    assert {path.name for path in (tmp_path / "lost").iterdir()} == {"fc_001", "fc_001.1"}
    assert insert_rows().id == "fc_001"
    assert sweep_folders(database, tmp_path) == 1
    assert (folder / "receipt.json").read_text() == "kept"
    assert [path.name for path in (tmp_path / "lost").iterdir()] == ["fc_001.1"]
    assert "forecast fc_001: it has a row in the database again, so its folder was moved back." in caplog.text


def test_a_lost_folder_does_not_replace_the_folder_of_a_forecast(
    database: Database, insert_rows: Insert, tmp_path: Path
) -> None:
    forecast = insert_rows()
    folder = _write_data(tmp_path, forecast)
    (tmp_path / "lost" / forecast.id).mkdir(parents=True)
    (tmp_path / "lost" / forecast.id / "receipt.json").write_text("old")
    assert sweep_folders(database, tmp_path) == 1
    assert (folder.store / "zarr.json").exists()
    assert (tmp_path / "lost" / forecast.id / "receipt.json").read_text() == "old"


def test_the_sweep_removes_only_folders_of_forecasts(database: Database, tmp_path: Path) -> None:
    for path in ("uploads/up_1", "forecasts/notes", "forecasts/.trash"):
        (tmp_path / path).mkdir(parents=True)
        _set_age(tmp_path / path, 7200)
    (tmp_path / "forecasts" / "fc_file").write_text("a file, no folder")
    sweep_folders(database, tmp_path)
    names = {path.name for path in (tmp_path / "forecasts").iterdir()}
    assert names == {"notes", ".trash", "fc_file"}
    assert (tmp_path / "uploads" / "up_1").exists()


def test_the_sweep_of_a_data_folder_without_forecasts_does_nothing(database: Database, tmp_path: Path) -> None:
    sweep_folders(database, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_folder_of_a_forecast_is_kept_however_long_it_waits_runs_or_is_available(
    database: Database, insert_rows: Insert, tmp_path: Path, clock: MovableClock
) -> None:
    waiting, ended, running = insert_rows(priority=Priority.LOW), insert_rows(), insert_rows(priority=Priority.HIGH)
    claim(database, "a", 30.0, 3)
    cancel_forecast(database, ended.id, "local")
    folders = [tmp_path / "forecasts" / _write_data(tmp_path, each).path.name for each in (waiting, ended, running)]
    for folder in folders:
        _set_age(folder, 1e6)
    clock.advance(1e6)
    sweep_folders(database, tmp_path)
    assert read_forecast(database, running.id).status == Status.RUNNING
    assert [folder.exists() for folder in folders] == [True, True, True]


def test_folders_of_attempts_are_removed_once_a_forecast_is_successful(
    database: Database, insert_rows: Insert, tmp_path: Path
) -> None:
    """The last worker may have died after its commit and before it removed the folders."""
    successful, running = insert_rows(), insert_rows()
    folders = {forecast.id: _write_data(tmp_path, forecast) for forecast in (successful, running)}
    with database.write() as connection:
        ended = update(forecasts).where(forecasts.c.id == successful.id)
        connection.execute(ended.values(status=Status.SUCCESSFUL, finished=now()))
    sweep_folders(database, tmp_path)
    for forecast, exists in ((successful, False), (running, True)):
        folder = folders[forecast.id]
        assert [(folder.path / name).exists() for name in ("staging", "frames.zarr")] == [exists, exists]
        assert folder.store.exists()


def test_concurrent_deletions_and_sweeps_end_without_an_error(
    database: Database, insert_rows: Insert, tmp_path: Path
) -> None:
    records = [insert_rows() for _ in range(6)]
    for forecast in records:
        _write_data(tmp_path, forecast)
        cancel_forecast(database, forecast.id, "local")
    errors: list[Exception] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:  # of a test's thread: the main thread asserts that there is none
            errors.append(error)

    calls: list[Callable[[], object]] = [lambda: sweep_folders(database, tmp_path)] * 3
    for forecast in records:
        calls += [lambda forecast=forecast: delete_data(database, tmp_path, forecast.id, "local")] * 2
    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list((tmp_path / "forecasts").iterdir()) == []
