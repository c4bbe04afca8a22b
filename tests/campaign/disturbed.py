"""Forecasts whose workers are disturbed: the workers, and the checks that the results are those of undisturbed ones."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from pathlib import Path

import numpy as np
import xarray as xr
from sqlalchemy.exc import OperationalError

from jobs.dispatching.dispatch import Dispatcher
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
from storage.atomic import PARTIAL_SUFFIX
from storage.opening import open_storage
from tests.helpers import wait_until
from tests.rows import read_forecast
from tests.served import WARMCAST
from weather.stores.rounding import round_bits
from workers.loop import Worker

LEAD_TIMES = 40
Submit = Callable[..., ForecastRecord]


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
            for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
                with suppress(OSError):
                    found += [int(pid) for pid in children.read_text().split()]
        return found

    def stop(self) -> None:
        self._restarts.stop()
        for process in self._processes:
            process.kill()
            process.wait()
        self._log.close()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*WARMCAST, "worker"], env=self._environment, stdout=self._log, stderr=self._log)

    def _restart_ended(self) -> None:
        for index, process in enumerate(self._processes):
            if process.poll() is not None:
                self._processes[index] = self._start()


class LocalWorkers:
    """Embedded workers, each with its settings and its supervisor."""

    def __init__(self, *settings: Settings) -> None:
        self._supervisors = [Supervisor(each) for each in settings]
        for supervisor in self._supervisors:
            supervisor.__enter__()

    def pids(self) -> list[int]:
        return [supervisor.pid for supervisor in self._supervisors if supervisor.pid is not None]

    def stop(self) -> None:
        for supervisor in self._supervisors:
            supervisor.__exit__(None, None, None)


Workers = CeleryWorkers | LocalWorkers


def send(pid: int, sent: signal.Signals) -> None:
    """Send a signal to a process, if it still exists."""
    with suppress(ProcessLookupError):
        os.kill(pid, sent)


def submit_several(submit: Submit, database: Database, settings: Settings, number: int) -> list[ForecastRecord]:
    """Submit forecasts of different seeds, whose members are stored exactly, not at all, or rounded."""
    outputs = [Output(), Output(members=False), Output(keep_bits=9)]
    data = settings.storage.data
    return [
        submit(database, data, lead_hours=6 * LEAD_TIMES, seed=seed, output=outputs[seed % len(outputs)])
        for seed in range(number)
    ]


def wait_while_disturbing(
    database: Database,
    dispatcher: Dispatcher | None,
    settings: Settings,
    forecasts: Sequence[ForecastRecord],
    disturb: Callable[[], None],
    seconds: float,
) -> None:
    """Call `disturb` twice a second until all forecasts have ended; the database may be away meanwhile.

    Workers are notified by `dispatcher` like by a service; None is a service that is down.
    """
    deadline = time.monotonic() + seconds
    while not _have_ended(database, forecasts):
        assert time.monotonic() < deadline, [read_forecast(database, forecast.id) for forecast in forecasts]
        if dispatcher is not None:
            with suppress(OperationalError):
                reconcile(database, dispatcher, settings.worker.max_attempts)
        time.sleep(0.5)
        disturb()


def _have_ended(database: Database, forecasts: Sequence[ForecastRecord]) -> bool:
    try:
        return not any(read_forecast(database, forecast.id).status in OPEN for forecast in forecasts)
    except OperationalError:
        return False


def check_results(
    submit: Submit,
    database: Database,
    settings: Settings,
    forecasts: Sequence[ForecastRecord],
    reference: Path,
    lead_times: int = LEAD_TIMES,
) -> None:
    """Check that all forecasts ended once, as successful, with the results of forecasts that were not disturbed.

    Their workers must have been stopped. The service's sweep removes what those that were killed left.
    """
    for left in settings.storage.data.rglob(f"*{PARTIAL_SUFFIX}"):
        os.utime(left, (0, 0))
    sweep_folders(database, open_storage(settings.storage.data, None))
    seeds = {forecast.request.seed for forecast in forecasts}
    expected = _compute_undisturbed(submit, seeds, reference, lead_times)
    for forecast in forecasts:
        folder = ForecastFolder(settings.storage.data, forecast.id)
        _check_events(database, forecast.id)
        _check_stores(folder, forecast.request.output, *expected[forecast.request.seed])
        assert not folder.frames.exists()
        assert not list(folder.path.rglob(f"*{PARTIAL_SUFFIX}"))


def _check_events(database: Database, forecast_id: str) -> None:
    """Check that a forecast was successful once, and committed each lead time once and in order."""
    record = read_forecast(database, forecast_id)
    assert record.status == Status.SUCCESSFUL, record
    with database.read() as connection:
        events = list_events(connection, forecast_id)
    disturbances = {EventKind.WORKER_LOST, EventKind.RETRY}
    kinds = [event.kind for event in events if event.kind not in disturbances | {EventKind.LEAD_TIME}]
    assert kinds == [EventKind.ACCEPTED, EventKind.RUNNING, EventKind.SUCCESSFUL]
    lead_times = [event.detail["lead_times"] for event in events if event.kind == EventKind.LEAD_TIME]
    assert lead_times == list(range(1, record.num_lead_times + 1))


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
    submit: Submit, seeds: Set[int], data: Path, lead_times: int
) -> dict[int, tuple[xr.Dataset, xr.Dataset]]:
    settings = Settings.of(data=data, device="cpu")
    data.mkdir()
    database = Database(settings.storage.sql_url)
    database.migrate()
    worker = Worker(settings, database)
    records = {seed: submit(database, data, lead_hours=6 * lead_times, seed=seed) for seed in seeds}
    wait_until(lambda: not worker.run(), 300)
    database.close()
    return {seed: _stores(ForecastFolder(data, record.id)) for seed, record in records.items()}
