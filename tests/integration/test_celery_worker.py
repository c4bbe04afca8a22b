import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from jobs.dispatching.dispatch import CeleryDispatcher
from jobs.dispatching.reconcile import reconcile
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.tables import work
from jobs.settings import Settings
from tests.helpers import wait_until
from tests.rows import cancel_forecast, count_live_workers, read_forecast
from tests.servers import RedisServer
from workers.loop import Worker


@contextmanager
def _celery_worker(settings: Settings, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from warmcast.cli import main; main()", "worker"],
            env=os.environ | settings.environment(),
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(condition: Callable[[], object], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a condition holds, or raise with the worker's log if the worker has ended."""

    def holds() -> object:
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
        return condition()

    wait_until(holds, describe=log.read_text)


def _count_held_groups(database: Database) -> list[int]:
    """Return the number of groups that each worker holds."""
    held = select(func.count()).where(work.c.worker.is_not(None)).group_by(work.c.worker)
    with database.read() as connection:
        return list(connection.scalars(held))


@pytest.fixture
def settings(redis_server: RedisServer, tmp_path: Path) -> Settings:
    return Settings.of(
        data=tmp_path / "data", dispatcher="celery", redis_url=SecretStr(redis_server.url), device="cpu", threads=1
    )


def test_an_idle_celery_worker_is_alive_and_takes_groups_of_a_busy_one(
    settings: Settings, database: Database, submit_small: Callable[..., ForecastRecord], tmp_path: Path
) -> None:
    dispatcher, worker, log = CeleryDispatcher(settings), Worker(settings, database), tmp_path / "worker.log"
    with _celery_worker(settings, log) as process:
        _wait_for(lambda: count_live_workers(database), process, log)
        forecast = submit_small(database, settings.storage.data, members=8, lead_hours=6 * 500)
        working = threading.Thread(target=worker.run)
        working.start()
        _wait_for(lambda: read_forecast(database, forecast.id).lead_times, process, log)
        assert reconcile(database, dispatcher, settings.worker.max_attempts) == 2
        _wait_for(lambda: _count_held_groups(database) == [2, 2], process, log)
        cancel_forecast(database, forecast.id, "local")
        working.join()
