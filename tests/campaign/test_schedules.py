"""Schedules for 60 simulated days, with late and missing analyses, outages and kills: no cycle is lost or run twice.

A kill ends the scheduler between any two of its transactions. `make campaign` runs it; with fewer kills it is a form of
a day.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from anyio import CapacityLimiter, to_thread
from sqlalchemy import Connection, func, select

from jobs.rows.database import Database
from jobs.rows.schedule_tables import schedule_runs
from jobs.rows.tables import forecasts, verifications
from jobs.schedule_runs import read_clock
from jobs.settings import Settings
from service import work_queues
from service.app import create_app
from tests.clock import MovableClock
from tests.in_process import InProcess, run_in_process
from tests.rows import expire_data
from tests.simulated import NAME, STEP, Waves, install, run_tick
from workers.loop import Worker

T = TypeVar("T")

HOUR = 3600.0
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
    """The service without its own tasks; its queues run in one thread at a time, because HDF5 bears no more."""
    limiter = CapacityLimiter(1)

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


@dataclass
class Weather:
    """When each analysis appears, if ever, and when the data set is away."""

    draw: random.Random
    first: np.datetime64
    num_cycles: int
    appears: dict[np.datetime64, float] = field(default_factory=dict)
    outages: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for index in range(-1, self.num_cycles + 2):
            time = self.first + index * STEP
            chance = self.draw.random()
            hours = self.draw.uniform(3.5, 7) if chance < 0.92 else self.draw.uniform(8, 40)
            if chance < 0.98:
                self.appears[time] = float(time.astype("int64")) + hours * HOUR
        start = float(self.first.astype("int64"))
        for _ in range(self.num_cycles // 40):
            begin = start + self.draw.uniform(0, self.num_cycles * 6 * HOUR)
            self.outages.append((begin, begin + self.draw.uniform(1, 30) * HOUR))

    def show(self, waves: Waves, now: float) -> None:
        """Give the data set what has appeared by now."""
        waves.add(*(time for time, appears in self.appears.items() if appears <= now))
        waves.is_away = any(begin <= now < end for begin, end in self.outages)


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
    clock.advance(-70 * 24 * HOUR)
    waves, worker, kills = Waves(tmp_path), Worker(settings, database), 0
    install(api, database, waves)
    with database.read() as connection:
        start = read_clock(connection)
    first = np.datetime64(int(start // (6 * HOUR) * 6 * HOUR), "s")
    weather = Weather(draw, first, int(days * 4))
    made = {
        name: api.post("/v1/schedules", json={"name": name, "dataset": NAME, "forecast": _FORECAST} | fields).json()
        for name, fields in {
            "all": {"catch_up": "all", "stop": str(first + int(days * 4) * STEP)},
            "daily": {"every_hours": 24, "catch_up": "skip", "stop": str(first + int(days * 4) * STEP)},
        }.items()
        if is_whole or name == "all"
    }
    now = start
    while now < start + (days + (3 if is_whole else 1.5)) * 24 * HOUR:
        hours = draw.choice((0.3, 1, 2, 3, 12 if draw.random() < 0.1 else 1)) if is_whole else 12
        clock.advance(hours * HOUR)
        now += hours * HOUR
        weather.show(waves, now)
        if draw.random() < 0.3 or not is_whole:
            kills += 1
            with killed_after(draw.randrange(4), monkeypatch):
                _run_killed(api)
            clock.advance(150)
        for _ in range(3):
            run_tick(api)
        while worker.run():
            pass
        expire_data(database, None)
    _check(database, made, first, weather)
    figures = _figures(database)
    assert kills > 0
    print(f"{days} days, {kills} kills: {figures}")  # noqa: T201  # the figures of the campaign


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
    submitted = {run.forecast_id: run for run in runs if run.state == "submitted"}
    assert len(submitted) == sum(run.state == "submitted" for run in runs)
    assert {row.id for row in rows} == set(submitted)
    assert {row.status for row in rows} == {"successful"}
    assert all(row.labels["schedule"] == submitted[row.id].schedule_id for row in rows)
    for forecast_id, run in submitted.items():
        last = np.datetime64(run.init_time, "s") + 2 * STEP
        assert run.verification in {"done", "missed"}, run
        assert scored[forecast_id] == (run.verification == "done")
        if run.verification == "missed":
            assert last not in weather.appears or weather.appears[last] >= run.verify_until, run
    assert set(scored) <= set(submitted)


def _figures(database: Database) -> dict[str, Any]:
    columns = schedule_runs.c.state, schedule_runs.c.caught_up, schedule_runs.c.verification
    with database.read() as connection:
        rows = connection.execute(select(*columns, func.count().label("number")).group_by(*columns)).all()
    return {f"{row.state}{' late' * row.caught_up}, {row.verification}": row.number for row in rows}
