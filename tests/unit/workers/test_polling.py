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
from tests.rows import read_forecast, save_batch_size
from weather.manifest import read_manifest

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


@pytest.fixture
def best_size(untrained_checkpoint: Path, database: Database) -> None:
    """The best batch size is known, as from earlier forecasts: to measure it takes many of the slow steps."""
    save_batch_size(database, read_manifest(untrained_checkpoint).digest, "cpu", 8)


@pytest.mark.usefixtures("best_size")
def test_two_lanes_compute_two_forecasts_at_once_and_are_stopped_together(
    submit_forecast: Submit, settings: Settings, database: Database
) -> None:
    """A group has 2 members, and the device computes 8 or more fastest, so that one forecast does not fill it."""
    forecasts = [submit_forecast(members=2), submit_forecast(members=2), submit_forecast(members=2)]
    with _slow_worker(settings.replace(group_size=None, forecasts_at_once=2), "0.5") as process:

        def statuses() -> list[str]:
            return [read_forecast(database, forecast.id).status for forecast in forecasts]

        wait_until(lambda: statuses() == ["running", "running", "accepted"])
        wait_until(lambda: statuses()[:2] == ["successful", "successful"])
        wait_until(lambda: statuses()[2] == "running")
        process.terminate()
        assert process.wait(30) == 0
    committed = _committed(database, forecasts[2])
    assert 0 <= committed[0] <= 4


@pytest.mark.usefixtures("best_size")
def test_a_step_of_a_further_lane_that_takes_too_long_is_given_up(
    submit_forecast: Submit, settings: Settings, database: Database
) -> None:
    forecasts = [submit_forecast(members=2), submit_forecast(members=2)]
    limited = settings.replace(group_size=None, forecasts_at_once=2, stop_seconds=4, poll_seconds=0.05)
    # each lane has 2.5 s to begin its step before the other's would end, and as many to end it after it is given up
    with _slow_worker(limited, "4.5") as process:
        wait_until(lambda: {read_forecast(database, forecast.id).status for forecast in forecasts} == {"running"})
        process.terminate()
        assert process.wait(60) == 0
    for forecast in forecasts:
        assert _committed(database, forecast) == [0]
