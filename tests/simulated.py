"""A data set whose analyses a test adds one by one, and steps of the scheduler."""

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from jobs.rows.database import Database
from jobs.schedule_runs import read_clock
from models.testing import tiny_spec
from service.datasets import Datasets
from service.dependencies import Service
from service.scheduler import Scheduler
from tests.in_process import InProcess
from weather.errors import UpstreamError, UpstreamRefusedError
from weather.testing import travelling_waves
from weather.upstream.dataset import Description, find_newest_pair

NAME = "waves"
STEP = np.timedelta64(6, "h")
_ORIGIN = np.datetime64("2018-01-01T00", "s")


class Waves:
    """Analyses of waves on the grid of the tiny checkpoint, a file for each.

    `is_away` makes all calls fail, and `refusal` says what is wrong with what the data set sends.
    """

    name, step_hours, description = NAME, 6, Description("Waves", "", "")

    def __init__(self, folder: Path) -> None:
        self.times = set[np.datetime64]()
        self.is_away, self._folder = False, folder
        self.refusal: str | None = None
        self._frames = travelling_waves(tiny_spec().grid.grid, [_ORIGIN])

    def add(self, *times: np.datetime64) -> None:
        """Add the analyses of some times."""
        self.times |= {time.astype("datetime64[s]") for time in times}

    def list_times(self, start: np.datetime64, stop: np.datetime64) -> list[np.datetime64]:
        """Return the times in an interval that were added."""
        self._check()
        return sorted(time for time in self.times if start <= time <= stop)

    def find_newest(self, now: np.datetime64) -> np.datetime64 | None:
        """Return the newest initial time."""
        return find_newest_pair(self.list_times(_ORIGIN, now))

    def fetch(self, times: Sequence[np.datetime64]) -> list[Path]:
        """Return a file for each time."""
        self._check()
        return [self._write(time) for time in times]

    def _write(self, time: np.datetime64) -> Path:
        path = self._folder / f"{NAME}-{np.datetime_as_string(time, 'h')}.nc"
        if not path.exists():
            part = path.with_name(f"{uuid.uuid4()}.part")  # two threads may fetch the same analysis
            travelling_waves(tiny_spec().grid.grid, [_ORIGIN, time]).isel(time=[1]).to_netcdf(part)
            part.rename(path)
        return path

    def _check(self) -> None:
        if self.is_away:
            raise UpstreamError(NAME, "The server of waves does not answer.")
        if self.refusal is not None:
            raise UpstreamRefusedError(NAME, self.refusal)


def install(api: InProcess, database: Database, *datasets: Any) -> None:
    """Give a service more data sets, whose newest analyses are looked for by the clock of its database."""

    def read_time() -> float:
        with database.read() as connection:
            return read_clock(connection)

    service: Service = api.app.state.service
    by_name = service.datasets.by_name | {dataset.name: dataset for dataset in datasets}
    api.app.state.service = dataclasses.replace(service, datasets=Datasets(by_name, read_time))


def run_tick(api: InProcess, count: Callable[[str], Any] = lambda _outcome: None) -> None:
    """Let a new scheduler do everything that is due, and wait for it."""

    async def tick() -> None:
        async with anyio.create_task_group() as tasks:
            await Scheduler(api.app.state.service, count).tick(tasks)

    api.start_task(tick).result(60)
