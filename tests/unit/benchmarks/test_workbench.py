from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import select

from benchmarks.workbench import Workbench, write_untrained_checkpoint
from jobs.forecasts import read_forecast
from jobs.rows.states import Status
from jobs.rows.tables import work
from models.checkpoint import load_checkpoint
from tests.helpers import random_state
from weather.bundled import find_named_checkpoint
from weather.manifest import read_manifest
from workers.loop import Worker


@pytest.fixture
def bench(untrained_checkpoint: Path, tmp_path: Path) -> Iterator[Workbench]:
    with Workbench.open(tmp_path / "new" / "data", untrained_checkpoint, threads=1) as bench:
        yield bench


def test_a_workbench_creates_its_folder_and_passes_settings_on(bench: Workbench, tmp_path: Path) -> None:
    assert bench.settings.storage.data == tmp_path / "new" / "data"
    assert (bench.settings.worker.group_size, bench.settings.worker.threads) == (8, 1)
    assert bench.manifest.name == "untrained"
    with bench.database.read() as connection:
        assert connection.execute(select(work)).all() == []


def test_a_workbench_opens_again_with_its_forecasts(untrained_checkpoint: Path, tmp_path: Path) -> None:
    with Workbench.open(tmp_path, untrained_checkpoint) as bench:
        forecast_id = bench.submit(members=2, num_lead_times=1, nfe=2)
    with Workbench.open(tmp_path, untrained_checkpoint) as bench, bench.database.read() as connection:
        assert read_forecast(connection, forecast_id).status == Status.ACCEPTED


def test_the_initial_state_is_given_or_of_the_same_random_numbers_each_time(
    bench: Workbench, untrained_checkpoint: Path, tmp_path: Path
) -> None:
    with Workbench.open(tmp_path / "same", untrained_checkpoint) as same:
        assert same.state.digest == bench.state.digest
        assert same.state.newest.shape == (1, 2, 16, 32)
        assert 4 < float(same.state.newest.std()) < 6
        assert not np.array_equal(same.state.newest, same.state.previous)
    given = random_state()
    with Workbench.open(tmp_path / "given", untrained_checkpoint, given) as other:
        assert other.state is given


@pytest.mark.parametrize("nfe", [2, 6])
def test_a_request_has_the_size_that_is_given_and_the_settings_of_the_checkpoint(bench: Workbench, nfe: int) -> None:
    request = bench.request(members=12, num_lead_times=5, nfe=nfe, group_size=4)
    assert (request.members, request.group_size, request.num_groups) == (12, 4, 3)
    assert request.lead_hours == 30
    assert request.sampling == bench.manifest.sampling.replace(nfe=nfe)
    assert request.checkpoint_digest == bench.manifest.digest
    assert request.initial_state_digest == bench.state.digest
    assert request.init_datetime == bench.state.init_time


def test_a_submitted_forecast_waits_for_a_worker_in_groups(bench: Workbench) -> None:
    forecast_id = bench.submit(members=20, num_lead_times=2, nfe=2)
    with bench.database.read() as connection:
        groups = connection.scalars(select(work.c.group_index).where(work.c.forecast_id == forecast_id)).all()
        assert read_forecast(connection, forecast_id).status == Status.ACCEPTED
    assert sorted(groups) == [0, 1, 2]


def test_a_forecast_runs_to_its_end_in_measured_seconds(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(bench.settings, bench.database)
    monkeypatch.setattr("benchmarks.workbench.time", Clock())
    forecast_id, seconds = bench.run(worker, members=3, num_lead_times=2, nfe=2)
    assert seconds == 2.5
    with bench.database.read() as connection:
        assert read_forecast(connection, forecast_id).status == Status.SUCCESSFUL


class Clock:
    """A clock of two readings, 2.5 s apart."""

    def __init__(self) -> None:
        self._readings = iter([10.0, 12.5])

    def perf_counter(self) -> float:
        return next(self._readings)


def test_a_forecast_that_fails_is_not_measured(bench: Workbench, tmp_path: Path) -> None:
    """The folder of the checkpoint is gone when the worker opens it."""
    worker = Worker(bench.settings, bench.database)
    missing = Workbench(bench.settings, bench.database, tmp_path / "gone", bench.manifest, bench.state)
    with pytest.raises(AssertionError):
        missing.run(worker, members=2, num_lead_times=1, nfe=2)


@pytest.mark.parametrize(("num_lat", "num_lon"), [(17, 32), (25, 48)])
def test_an_untrained_checkpoint_has_the_networks_of_planet_on_a_grid_with_poles(
    num_lat: int, num_lon: int, tmp_path: Path
) -> None:
    folder = write_untrained_checkpoint(tmp_path / "untrained", num_lat, num_lon)
    networks, manifest = load_checkpoint(folder, torch.device("cpu"))
    planet = read_manifest(find_named_checkpoint("planet", ())).model
    assert manifest.name == "untrained"
    assert manifest.model.grid.grid.shape == (num_lat, num_lon)
    assert manifest.model.grid.grid.has_poles
    assert (manifest.model.warm_start, manifest.model.flow) == (planet.warm_start, planet.flow)
    assert not any(weight.any() for weight in networks.flow.net.head.parameters())
