import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from jobs.database import Database
from jobs.dispatch import CeleryDispatcher
from jobs.forecasts import ForecastRecord, dismiss, look_up
from jobs.reconcile import reconcile
from jobs.settings import Settings
from jobs.tables import work
from jobs.testing import RedisServer
from jobs.workers import count_alive
from workers.runtime import Runtime


@contextmanager
def _celery_worker(settings: Settings, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from warmcast.cli import main; main()", "worker"],
            env=os.environ | settings.environment(), stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(is_so: Callable[[], object], process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


def _held(database: Database) -> list[int]:
    """How many groups each worker holds."""
    held = select(func.count()).where(work.c.worker.is_not(None)).group_by(work.c.worker)
    with database.read() as connection:
        return list(connection.scalars(held))


@pytest.fixture
def settings(redis_server: RedisServer, tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir()
    return Settings(
        data=tmp_path / "data", dispatcher="celery", redis_url=SecretStr(redis_server.url), device="cpu", threads=1
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    result = Database(settings.url)
    result.migrate()
    yield result
    result.close()


def test_a_celery_worker_is_known_before_it_has_work_and_helps_one_that_has_much(
    settings: Settings, database: Database, submit_small: Callable[..., ForecastRecord], tmp_path: Path
) -> None:
    dispatcher, runtime, log = CeleryDispatcher(settings), Runtime(settings, database), tmp_path / "worker.log"
    with _celery_worker(settings, log) as process:
        _wait_for(lambda: count_alive(database), process, log)
        forecast = submit_small(database, settings.data, members=8, lead_hours=6 * 500)
        working = threading.Thread(target=runtime.run)
        working.start()
        _wait_for(lambda: look_up(database, forecast.id).lead_times, process, log)
        assert reconcile(database, dispatcher, settings.max_attempts) == 2
        _wait_for(lambda: _held(database) == [2, 2], process, log)
        dismiss(database, forecast.id, "local")
        working.join()
