"""Schedules for 60 simulated days of a server with faults: no cycle is lost or run twice, whatever is killed.

Analyses are late, missing, cut short or of another hour, and the server is away for hours. A kill ends the scheduler
between any two of its transactions. `make campaign` runs it; with fewer kills it is a form of a day.
"""

import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from anyio import CapacityLimiter, to_thread
from sqlalchemy import Connection, func, select

from jobs.rows.database import Database
from jobs.rows.schedule_tables import schedule_runs
from jobs.rows.tables import forecasts, verifications
from jobs.schedule_cycles import MAX_AGE_SECONDS
from jobs.schedule_runs import CLAIM_SECONDS, read_clock
from jobs.schedule_verifications import GRACE_SECONDS
from jobs.settings import Settings
from service import work_queues
from service.app import create_app
from tests.campaign.archive import Archive, Weather
from tests.clock import MovableClock
from tests.in_process import InProcess, run_in_process
from tests.origins import serving_analyses
from tests.parsing import parse_in_process
from tests.rows import expire_data
from tests.simulated import STEP, install, run_tick
from weather.ingest import parent
from workers.loop import Worker

T = TypeVar("T")

HOUR = 3600.0
_DAY = 24 * HOUR
_LEAST = 10
_FORECAST = {"model": "untrained", "members": 2, "lead_time": "12h", "sampler": {"nfe": 2}, "retention_hours": 1}


class KilledError(Exception):
    """The process was killed: nothing that it does from now on reaches the database."""


@pytest.fixture
def settings(tmp_path: Path, untrained_checkpoint: Path) -> Settings:
    folder = str(untrained_checkpoint.parent)
    return Settings.of(data=tmp_path, checkpoints=folder, reconcile_seconds=1e6, device="cpu", threads=1)


@pytest.fixture
def api(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    """The service without its own tasks, child processes and waits for the disk: a day takes seconds.

    Its queues run in one thread at a time, because the libraries of files bear no more.
    """
    limiter = CapacityLimiter(1)
    monkeypatch.setattr(parent, "run_parser", parse_in_process)
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)

    async def run(call: Callable[[], T], _seconds: float, _folder: Path | None = None) -> T:
        return await to_thread.run_sync(call, limiter=limiter)

    monkeypatch.setattr(work_queues, "run_in_child", run)
    with run_in_process(create_app(settings, with_worker=False)) as api:
        yield api


@contextmanager
def killed_after(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the database fail from the middle of a transaction on: after `number` more were committed."""
    write, left = Database.write, [number]

    @contextmanager
    def fail(database: Database) -> Iterator[Connection]:
        if left[0] <= 0:
            raise KilledError
        left[0] -= 1
        with write(database) as connection:
            yield connection

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", fail)
        yield


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_every_cycle_ends_once_and_every_forecast_gets_scores(
    request: pytest.FixtureRequest,
    api: InProcess,
    settings: Settings,
    database: Database,
    clock: MovableClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_whole = int(request.config.getoption("--kills")) >= _LEAST
    days, draw = (60, random.Random(18)) if is_whole else (0.25, random.Random(18))
    clock.advance(HOUR - 70 * _DAY - _read_clock(database) % _DAY)
    first = np.datetime64(int(_read_clock(database) // _DAY * _DAY), "s")
    weather, kills = Weather(draw, first, int(days * 4)), 0
    with serving_analyses() as server:
        archive, worker = Archive(server, weather, tmp_path), Worker(settings, database)
        install(api, database, archive.dataset)
        made = _make_schedules(api, first + int(days * 4) * STEP, ("all", "daily") if is_whole else ("all",))
        end = _read_clock(database) + (days + (4 if is_whole else 1.5)) * _DAY
        while _read_clock(database) < end:
            hours = draw.choice((0.3, 1, 2, 3, 12 if draw.random() < 0.1 else 1)) if is_whole else 12
            clock.advance(hours * HOUR)
            archive.show(_read_clock(database))
            if draw.random() < 0.3 or not is_whole:
                kills += 1
                with killed_after(draw.randrange(4), monkeypatch):
                    _run_killed(api)
                clock.advance(CLAIM_SECONDS + 1)
            for _ in range(3):
                run_tick(api)
            while worker.run():
                pass
            expire_data(database, None)
    clock.advance(MAX_AGE_SECONDS)  # whose analyses never come are not caught up any more
    run_tick(api)
    _check(database, made, first, weather)
    assert kills >= (40 if is_whole else 1)
    print(f"{days} days, {kills} kills: {_figures(database)}")  # noqa: T201  # the figures of the campaign


def _read_clock(database: Database) -> float:
    with database.read() as connection:
        return read_clock(connection)


def _make_schedules(api: InProcess, stop: np.datetime64, names: Iterable[str]) -> dict[str, Any]:
    fields = {"all": {"catch_up": "all"}, "daily": {"every_hours": 24, "catch_up": "skip"}}
    body = {"dataset": Archive.name, "forecast": _FORECAST, "stop": str(stop)}
    return {name: api.post("/v1/schedules", json=body | {"name": name} | fields[name]).json() for name in names}


def _run_killed(api: InProcess) -> None:
    """Run a scheduler that is killed: its errors are those of the kill."""
    try:
        run_tick(api)
    except KilledError:
        pass
    except ExceptionGroup as group:
        if group.split(KilledError)[1] is not None:
            raise


def _check(database: Database, made: dict[str, Any], first: np.datetime64, weather: Weather) -> None:
    with database.read() as connection:
        runs = connection.execute(select(schedule_runs).order_by(schedule_runs.c.init_time)).all()
        rows = connection.execute(select(forecasts.c.id, forecasts.c.labels, forecasts.c.status)).all()
        scored = Counter(connection.scalars(select(verifications.c.forecast_id)))
    cycles = [int((first + index * STEP).astype("int64")) for index in range(weather.num_cycles + 1)]
    for name, view in made.items():
        own = [run.init_time for run in runs if run.schedule_id == view["id"]]
        assert own == (cycles if name == "all" else [cycle for cycle in cycles if cycle % 86400 == 0]), name
    assert {run.state for run in runs} <= {"submitted", "missed", "skipped", "failed"}
    for run in runs:
        assert run.state != "failed" or run.problem is not None, run
        if run.state == "missed" and run.schedule_id == made["all"]["id"]:
            assert weather.appearance_of_state(run.init_time) == math.inf, run
    submitted = {run.forecast_id: run for run in runs if run.state == "submitted"}
    assert len(submitted) == sum(run.state == "submitted" for run in runs)
    assert {row.id for row in rows} == set(submitted)
    assert {row.status for row in rows} == {"successful"}
    assert all(row.labels["schedule"] == submitted[row.id].schedule_id for row in rows)
    for forecast_id, run in submitted.items():
        assert scored[forecast_id] == (run.verification == "done")
        if run.verification == "missed":
            assert weather.appearance_of(run.init_time + 12 * HOUR) >= run.verify_until, run
        elif run.verification == "failed":
            assert run.verification_problem is not None
            assert weather.is_away_from(run.verify_until + GRACE_SECONDS, 13 * HOUR), run
        else:
            assert run.verification == "done", run
    assert set(scored) <= set(submitted)


def _figures(database: Database) -> dict[str, Any]:
    columns = schedule_runs.c.state, schedule_runs.c.caught_up, schedule_runs.c.verification
    with database.read() as connection:
        rows = connection.execute(select(*columns, func.count().label("number")).group_by(*columns)).all()
    return {f"{row.state}{' late' * row.caught_up}, {row.verification}": row.number for row in rows}
