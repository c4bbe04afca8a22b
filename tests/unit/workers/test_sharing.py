"""One forecast on two workers, which are real processes."""

import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Kind, Status
from jobs.rows.tables import samples, work, workers
from jobs.settings import Settings
from tests.helpers import wait_until
from tests.rows import read_forecast
from workers.loop import Worker

Submit = Callable[..., ForecastRecord]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.of(data=tmp_path, device="cpu", threads=1, lease_seconds=2, heartbeat_seconds=0.5, poll_seconds=0.1)


@contextmanager
def _worker(settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    environment = os.environ | settings.environment()
    command = [sys.executable, "-m", "workers.polling", str(os.getpid())]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def _polling(worker: Worker) -> Iterator[None]:
    """Run a worker in a thread of this process, which starts without the delay of a new process."""
    over = threading.Event()

    def poll() -> None:
        while not over.wait(0.0 if worker.run() else 0.05):
            pass

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _count_idle_workers(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).where(workers.c.idle_until.is_not(None))) or 0


def _count_held_groups(database: Database) -> Counter[str]:
    """Return the number of unfinished groups that each worker holds."""
    query = select(work.c.worker).where(work.c.kind == Kind.GROUP, work.c.worker.is_not(None))
    with database.read() as connection:
        return Counter(connection.scalars(query))


def _evaluations(database: Database) -> list[float]:
    counted = samples.c.sample.like("%evaluations%")
    with database.read() as connection:
        return list(connection.scalars(select(samples.c.value).where(counted).order_by(samples.c.value)))


def _files(settings: Settings, forecast: ForecastRecord) -> dict[str, bytes]:
    """Return the bytes of every file of a store, without the time of creation."""
    store = ForecastFolder(settings.storage.data, forecast.id).store
    files = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    return files | {"zarr.json": re.sub(rb'"history": "[^"]*"', b"", files["zarr.json"])}


def _run_alone(submit_small: Submit, settings: Settings, data: Path, **fields: object) -> dict[str, bytes]:
    alone = settings.replace(data=data)
    data.mkdir()
    database = Database(alone.storage.sql_url)
    database.migrate()
    forecast = submit_small(database, data, **fields)
    worker = Worker(alone, database)
    wait_until(lambda: not worker.run())
    database.close()
    return _files(alone, forecast)


def test_two_workers_write_the_same_store_as_one(
    submit_forecast: Submit, submit_small: Submit, settings: Settings, database: Database, tmp_path: Path
) -> None:
    fields = {"members": 7, "lead_hours": 6 * 10}
    with _worker(settings), _worker(settings):
        wait_until(lambda: _count_idle_workers(database) == 2)
        forecast = submit_forecast(**fields)
        wait_until(lambda: read_forecast(database, forecast.id).status not in OPEN)
        wait_until(lambda: len(_evaluations(database)) == 2)
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL
    counted = _evaluations(database)
    assert counted[0] >= 10 * 2 * 3  # at least one group of two members, with three evaluations per lead time
    assert sum(counted) == 4 * 10 * 2 * 3 - 4  # no evaluation is repeated; groups share the first warm start
    assert _files(settings, forecast) == _run_alone(submit_small, settings, tmp_path / "alone", **fields)


def test_a_second_worker_takes_its_share_and_finishes_alone_if_the_first_is_killed(
    submit_forecast: Submit, submit_small: Submit, settings: Settings, database: Database, tmp_path: Path
) -> None:
    fields = {"members": 8, "lead_hours": 6 * 24}
    with _worker(settings) as first:
        wait_until(lambda: _count_idle_workers(database) == 1)
        forecast = submit_forecast(**fields)
        wait_until(lambda: read_forecast(database, forecast.id).lead_times >= 2)
        assert list(_count_held_groups(database).values()) == [4]
        late = Worker(settings, database)
        began = read_forecast(database, forecast.id).lead_times
        with _polling(late):
            wait_until(lambda: sorted(_count_held_groups(database).values()) == [2, 2])
            joined = read_forecast(database, forecast.id).lead_times
            assert joined - began < 10  # lead times between two polls, on a busy machine
            wait_until(lambda: read_forecast(database, forecast.id).lead_times >= joined + 2)
            first.kill()
            wait_until(lambda: read_forecast(database, forecast.id).status not in OPEN)
    record = read_forecast(database, forecast.id)
    assert (record.status, record.lead_times) == (Status.SUCCESSFUL, 24)
    assert _files(settings, forecast) == _run_alone(submit_small, settings, tmp_path / "alone", **fields)
