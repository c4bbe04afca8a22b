"""What a worker does when the clock is set, and when the database or the disk is not what it was."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from jobs.forecasts import ForecastRecord
from jobs.installation import open_installation
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.settings import Settings
from models.forecaster import Forecaster
from storage.errors import InstallationError
from tests.clock import MovableClock
from tests.helpers import wait_until
from tests.rows import read_forecast
from workers.loop import Worker

Submit = Callable[..., ForecastRecord]
OnStep = Callable[[Callable[[], object]], None]


@pytest.fixture
def on_step(monkeypatch: pytest.MonkeyPatch) -> OnStep:
    """Have a function called once, before the second evaluation of a worker's networks."""

    def on_step(act: Callable[[], object]) -> None:
        calls = iter(range(10**6))
        step = Forecaster.step

        def acting(self: Forecaster, *arguments: object) -> object:
            if next(calls) == 1:
                act()
            return step(self, *arguments)  # type: ignore[arg-type] # passed on as they come

        monkeypatch.setattr(Forecaster, "step", acting)

    return on_step


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_clock_that_is_set_changes_neither_the_end_nor_the_seconds_of_a_receipt(
    jump: float, submit_forecast: Submit, worker: Worker, database: Database, clock: MovableClock, on_step: OnStep
) -> None:
    clock.advance(3600)  # the worker's own clock differs from that of the database
    forecast = submit_forecast()
    on_step(lambda: clock.advance(jump))
    wait_until(lambda: not worker.run())
    record = read_forecast(database, forecast.id)
    assert record.status == Status.SUCCESSFUL
    assert record.receipt is not None
    assert 0 < record.receipt["seconds"] < 600
    assert record.started is not None
    assert record.finished is not None
    assert record.created <= record.started <= record.finished


def test_a_worker_stops_while_its_database_is_away_and_continues_when_it_is_back(
    submit_forecast: Submit, settings: Settings, database: Database, on_step: OnStep
) -> None:
    path = settings.storage.data / "warmcast.db"
    forecast = submit_forecast()
    with database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM forecast")) == 1
    worker = Worker(settings, open_installation(settings.storage).database)
    on_step(lambda: path.rename(path.with_name("moved.db")))
    for _ in range(2):
        with pytest.raises(InstallationError, match="moved, deleted or replaced"):
            worker.run()
        assert not path.exists(), "a fresh database must not be made"
    path.with_name("moved.db").rename(path)
    with database.write() as connection:
        connection.execute(text("UPDATE work SET lease_until = 1"))
    wait_until(lambda: not worker.run())
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(disk: Path) -> None:
    with suppress(OSError), (disk / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


def test_a_forecast_ends_after_the_disk_of_its_data_and_rows_was_full(
    disk: Path, submit_small: Submit, settings: Settings, on_step: OnStep
) -> None:
    """The first attempt ends; the row that says so is written into the reserve."""
    settings = settings.replace(data=disk, reserve_bytes=500_000, group_size=2)
    database = open_installation(settings.storage).database
    database.reserve.hold()
    forecast = submit_small(database, disk)
    worker = Worker(settings, database)
    on_step(lambda: _fill(disk))
    assert worker.run()
    assert not database.reserve.is_held
    assert read_forecast(database, forecast.id).status == Status.RUNNING
    with database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM work WHERE worker IS NOT NULL")) == 0
    (disk / "filler").unlink()
    with database.write() as connection:
        connection.execute(text("UPDATE work SET lease_until = NULL"))
    wait_until(lambda: not worker.run())
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL
    database.close()
