"""Kill workers, their children and Redis at random: every forecast ends once, with the result of an undisturbed one.

A few kills in an ordinary run; `make campaign` sets many.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pydantic import SecretStr

from jobs.dispatching.dispatch import CeleryDispatcher, Dispatcher, LocalDispatcher
from jobs.dispatching.reconcile import reconcile
from jobs.dispatching.supervisor import Supervisor
from jobs.events import list_events
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.periodic import Periodic
from jobs.request import Output
from jobs.retention import sweep_folders
from jobs.rows.database import Database
from jobs.rows.states import OPEN, EventKind, Status
from jobs.settings import Settings
from tests.helpers import wait_until
from tests.rows import read_forecast
from tests.servers import RedisServer
from weather.stores.rounding import round_bits
from workers.loop import Worker

LEAD_TIMES = 40
Submit = Callable[..., ForecastRecord]


@pytest.fixture(params=["local", "celery"])
def dispatcher(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, dispatcher: str, redis_server: RedisServer, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("postgres").new_database() if request.param == "postgresql" else None
    return Settings.of(
        data=tmp_path / "data",
        database_url=SecretStr(url) if url else None,
        dispatcher="celery" if dispatcher == "celery" else "local",
        redis_url=SecretStr(redis_server.url),
        device="cpu",
        threads=1,
        lease_seconds=3,
        heartbeat_seconds=0.5,
        poll_seconds=0.1,
        max_attempts=10,
        stop_seconds=5,
    )


class CeleryWorkers:
    """Two Celery workers, restarted when they end."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._environment = os.environ | settings.environment()
        self._log = (folder / "celery.log").open("w")
        self._processes = [self._start() for _ in range(2)]
        self._restarts = Periodic(self._restart_ended, 0.2, "restarts")
        self._restarts.start()

    def pids(self) -> list[int]:
        """Return the ids of the workers' main processes and of their children."""
        found = []
        for process in self._processes:
            found.append(process.pid)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            found += [int(pid) for pid in children.read_text().split()] if children.exists() else []
        return found

    def stop(self) -> None:
        self._restarts.stop()
        for process in self._processes:
            process.kill()
            process.wait()
        self._log.close()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "workers.celery_worker", "--hostname", f"w{time.monotonic_ns()}@localhost"]
        return subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)

    def _restart_ended(self) -> None:
        for index, process in enumerate(self._processes):
            if process.poll() is not None:
                self._processes[index] = self._start()


class LocalWorkers:
    """Two embedded workers, each with its supervisor."""

    def __init__(self, settings: Settings) -> None:
        self._supervisors = [Supervisor(settings) for _ in range(2)]
        for supervisor in self._supervisors:
            supervisor.__enter__()

    def pids(self) -> list[int]:
        return [supervisor.pid for supervisor in self._supervisors if supervisor.pid is not None]

    def stop(self) -> None:
        for supervisor in self._supervisors:
            supervisor.__exit__(None, None, None)


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[CeleryWorkers | LocalWorkers]:
    result = CeleryWorkers(settings, tmp_path) if settings.service.dispatcher == "celery" else LocalWorkers(settings)
    yield result
    result.stop()


def _send(pid: int, sent: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, sent)


def _disturb(draw: random.Random, workers: CeleryWorkers | LocalWorkers, redis_server: RedisServer | None) -> str:
    """Kill or pause one process, or restart or empty Redis; return which."""
    kinds = ["kill", "kill", "kill", "pause", *(["flush", "restart"] if redis_server else [])]
    kind, pids = draw.choice(kinds), workers.pids()
    if redis_server and kind == "flush":
        redis_server.client().flushall()
    elif redis_server and kind == "restart":
        redis_server.kill()
        time.sleep(0.5)
        redis_server.start()
    elif pids:
        pid = draw.choice(pids)
        _send(pid, signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        if kind == "pause":
            threading.Timer(5, _send, (pid, signal.SIGCONT)).start()
    return kind


def test_disturbed_forecasts_end_once_with_the_result_of_undisturbed_ones(
    request: pytest.FixtureRequest,
    settings: Settings,
    database: Database,
    submit_small: Submit,
    redis_server: RedisServer,
    workers: CeleryWorkers | LocalWorkers,
    tmp_path: Path,
) -> None:
    kills = int(request.config.getoption("--kills"))
    celery = settings.service.dispatcher == "celery"
    dispatcher: Dispatcher = CeleryDispatcher(settings) if celery else LocalDispatcher()
    outputs = [Output(), Output(members=False), Output(keep_bits=9)]
    forecasts = [
        submit_small(
            database, settings.storage.data, lead_hours=6 * LEAD_TIMES, seed=seed, output=outputs[seed % len(outputs)]
        )
        for seed in range(kills)
    ]
    draw, done = random.Random(20180915), Counter[str]()
    next_kill, deadline = time.monotonic() + 5, time.monotonic() + 60 + 15 * kills
    while any(read_forecast(database, forecast.id).status in OPEN for forecast in forecasts):
        assert time.monotonic() < deadline, (done, [read_forecast(database, forecast.id) for forecast in forecasts])
        reconcile(database, dispatcher, settings.worker.max_attempts)
        time.sleep(0.5)
        if done.total() < kills and time.monotonic() > next_kill:
            done[_disturb(draw, workers, redis_server if celery else None)] += 1
            next_kill = time.monotonic() + draw.uniform(0.5, 6)
    sweep_folders(database, settings.storage.data)
    seeds = [forecast.request.seed for forecast in forecasts]
    reference = _compute_undisturbed(submit_small, seeds, tmp_path / "reference")
    for forecast in forecasts:
        folder = ForecastFolder(settings.storage.data, forecast.id)
        _check_events(database, forecast.id)
        _check_stores(folder, forecast.request.output, *reference[forecast.request.seed])
        assert not folder.frames.exists()
        assert not list(folder.path.rglob("*.partial"))


def _check_events(database: Database, forecast_id: str) -> None:
    """Check that a forecast was successful once, and committed each lead time once and in order."""
    record = read_forecast(database, forecast_id)
    assert record.status == Status.SUCCESSFUL, record
    with database.read() as connection:
        events = list_events(connection, forecast_id)
    kinds = [event.kind for event in events if event.kind != EventKind.LEAD_TIME]
    assert kinds == [EventKind.ACCEPTED, EventKind.RUNNING, EventKind.SUCCESSFUL]
    lead_times = [event.detail["lead_times"] for event in events if event.kind == EventKind.LEAD_TIME]
    assert lead_times == list(range(1, LEAD_TIMES + 1))


def _check_stores(folder: ForecastFolder, output: Output, members: xr.Dataset, summary: xr.Dataset) -> None:
    """Check that the stores equal those of the undisturbed forecast, with its members rounded as `output` says."""
    xr.testing.assert_identical(xr.open_zarr(folder.summary).load().drop_attrs(), summary)
    assert folder.store.exists() == output.members
    if output.members:
        expected = members.map(_round, keep_attrs=True, output=output)
        xr.testing.assert_identical(xr.open_zarr(folder.store).load().drop_attrs(), expected)


def _round(field: xr.DataArray, output: Output) -> xr.DataArray:
    exact = output.keep_bits is None or field.dtype != np.float32
    return field if exact else field.copy(data=round_bits(field.values, output.keep_bits or 23))


def _stores(folder: ForecastFolder) -> tuple[xr.Dataset, xr.Dataset]:
    ensemble, summary = (xr.open_zarr(path).load().drop_attrs() for path in (folder.store, folder.summary))
    return ensemble, summary


def _compute_undisturbed(
    submit_small: Submit, seeds: list[int], data: Path
) -> dict[int, tuple[xr.Dataset, xr.Dataset]]:
    settings = Settings.of(data=data, device="cpu")
    data.mkdir()
    database = Database(settings.storage.sql_url)
    database.migrate()
    worker = Worker(settings, database)
    records = {seed: submit_small(database, data, lead_hours=6 * LEAD_TIMES, seed=seed) for seed in seeds}
    wait_until(lambda: not worker.run())
    return {seed: _stores(ForecastFolder(data, record.id)) for seed, record in records.items()}
