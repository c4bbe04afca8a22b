"""Fill the disk at every phase of a forecast: once there is space again, it ends with the undisturbed result.

A few amounts of free space in an ordinary run; `make campaign` tries many.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import OPEN
from jobs.settings import Settings
from tests.campaign.disturbed import Submit, check_results
from tests.clock import MovableClock
from tests.helpers import wait_until
from tests.rows import read_forecast
from workers.loop import RETRY_SECONDS, Worker

_LEAD_TIMES = 4
_PAGE = 4096
_LARGE = 64 << 20


class SmallDisk:
    """A file system in memory whose size can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_LARGE}", "tmpfs", str(folder)], check=True)

    def used(self) -> int:
        return shutil.disk_usage(self.folder).used

    def resize(self, size_bytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(self.folder)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.getuid() != 0:
        pytest.skip("only root can mount a file system")
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.unmount()


@pytest.fixture
def settings(disk: SmallDisk) -> Settings:
    return Settings.of(data=disk.folder / "data", device="cpu", threads=1, max_attempts=1000)


def _run_some(worker: Worker, clock: MovableClock) -> None:
    """Run a worker a few times, as its process does, with each retry at its time."""
    for _ in range(3):
        with suppress(SQLAlchemyError, OSError):  # the rows are on the full disk too
            worker.run()
        clock.advance(RETRY_SECONDS)


def _submit(submit: Submit, database: Database, settings: Settings, seed: int) -> ForecastRecord:
    return submit(database, settings.storage.data, lead_hours=6 * _LEAD_TIMES, seed=seed)


def test_a_forecast_ends_whenever_its_disk_was_full(
    request: pytest.FixtureRequest,
    disk: SmallDisk,
    settings: Settings,
    database: Database,
    clock: MovableClock,
    submit_small: Submit,
    tmp_path: Path,
) -> None:
    number = int(request.config.getoption("--kills"))
    worker = Worker(settings, database)
    forecasts, growth, interrupted = list[ForecastRecord](), 0, 0
    for _ in range(2):  # files that all forecasts share grow with the first one
        forecasts.append(_submit(submit_small, database, settings, 0))
        before = disk.used()
        wait_until(lambda: not worker.run())
        growth = disk.used() - before
    for index in range(number):
        forecast = _submit(submit_small, database, settings, 0)
        disk.resize(disk.used() + growth * index // number // _PAGE * _PAGE)
        _run_some(worker, clock)
        interrupted += read_forecast(database, forecast.id).status in OPEN
        disk.resize(_LARGE)
        _run_to_the_end(worker, database, forecast, clock)
        forecasts.append(forecast)
    assert interrupted > number / 2
    check_results(submit_small, database, settings, forecasts, tmp_path / "reference", _LEAD_TIMES)


def _run_to_the_end(worker: Worker, database: Database, forecast: ForecastRecord, clock: MovableClock) -> None:
    def has_ended() -> bool:
        worker.run()
        clock.advance(RETRY_SECONDS)
        return read_forecast(database, forecast.id).status not in OPEN

    wait_until(has_ended)
