"""A data set of the catalogue whose analyses a test adds one by one, and steps of the scheduler."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from models.testing import tiny_spec
from service import datasets
from service.dependencies import Service
from service.scheduler import Scheduler
from tests.in_process import InProcess
from weather import bundled
from weather.bundled import CatalogueState
from weather.testing import travelling_waves

NAME = "waves"
STEP = np.timedelta64(6, "h")


@dataclass
class Waves:
    """Analyses of waves on the grid of the tiny checkpoint; each state has a file with both frames."""

    folder: Path
    states: list[CatalogueState] = field(default_factory=list)

    def add(self, init_time: np.datetime64) -> None:
        """Add the analysis of an initial time, with the one before it."""
        path = self.folder / f"{NAME}-{np.datetime_as_string(init_time, 'h')}.nc"
        if not path.exists():
            origin = np.datetime64("2026-01-01T00", "s")
            frames = travelling_waves(tiny_spec().grid.grid, [origin, init_time - STEP, init_time])
            frames.isel(time=[1, 2]).to_netcdf(path)
        self.states.append(CatalogueState(NAME, str(np.datetime_as_string(init_time, "s")), (path,)))


def install_waves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Waves:
    """Add the data set to the catalogue of this process."""
    waves, others = Waves(folder), bundled.catalogue_states()

    def states() -> list[CatalogueState]:
        first = CatalogueState(NAME, "2000-01-01T00:00:00", ())
        return [*others, first, *sorted(waves.states, key=lambda state: state.init_time)]

    for module in (bundled, datasets):
        monkeypatch.setattr(module, "catalogue_states", states)
    return waves


def run_tick(api: InProcess, count: Callable[[str], Any] = lambda _outcome: None) -> None:
    """Let a new scheduler do everything that is due, and wait for it."""

    async def tick() -> None:
        service: Service = api.app.state.service
        async with anyio.create_task_group() as tasks:
            await Scheduler(service, count).tick(tasks)

    api.start_task(tick).result(60)
