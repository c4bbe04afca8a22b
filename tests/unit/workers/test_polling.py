"""The computing process of a worker, stopped by real signals."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.tables import work
from jobs.settings import Settings
from tests.helpers import wait_until
from tests.rows import read_forecast

Submit = Callable[..., ForecastRecord]

SLOW = """
import time
from models.forecaster import Forecaster
step = Forecaster.step
def slow(*arguments):
    time.sleep(SECONDS)
    return step(*arguments)
Forecaster.step = slow
from jobs.settings import Settings
from workers.polling import poll
poll(Settings.read())
"""
"""A worker, each of whose steps takes some seconds more."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.of(data=tmp_path, device="cpu", threads=1, stop_seconds=20, group_size=8)


@contextmanager
def _slow_worker(settings: Settings, seconds: str) -> Iterator["subprocess.Popen[bytes]"]:
    script = SLOW.replace("SECONDS", seconds)
    process = subprocess.Popen([sys.executable, "-c", script], env=os.environ | settings.environment())
    yield process
    process.kill()
    process.wait()


def _committed(database: Database, forecast: ForecastRecord) -> list[int]:
    """Return the lead times that each group has committed; no group may be leased."""
    with database.read() as connection:
        rows = connection.execute(select(work).where(work.c.forecast_id == forecast.id).order_by(work.c.id)).all()
    assert [(row.worker, row.lease_until, row.attempts) for row in rows] == [(None, None, rows[0].attempts)] * len(rows)
    return [row.committed for row in rows]


def test_a_stopped_worker_commits_the_lead_time_of_its_group_and_releases_the_rest(
    submit_forecast: Submit, settings: Settings, database: Database
) -> None:
    forecast = submit_forecast(members=6)
    with _slow_worker(settings, "0.5") as process:
        wait_until(lambda: read_forecast(database, forecast.id).status == "running")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert _committed(database, forecast) == [1, 0, 0], "the group at which it was, and no other"


def test_a_stopped_worker_gives_up_a_step_that_takes_too_long(
    submit_forecast: Submit, settings: Settings, database: Database
) -> None:
    forecast = submit_forecast(members=6)
    with _slow_worker(settings.replace(stop_seconds=2), "600") as process:
        wait_until(lambda: read_forecast(database, forecast.id).status == "running")
        process.terminate()
        assert process.wait(60) == 0
        assert _committed(database, forecast) == [0, 0, 0]
