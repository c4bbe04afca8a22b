"""Forecasts of checkpoints whose context has more than two frames, and of other time steps than six hours."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from jobs.folders import ForecastFolder
from jobs.planning.plans import Plan
from jobs.request import ForecastRequest, Output
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.settings import Settings
from jobs.submit import submit
from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from models.noise import ForecastNoise
from models.rollout import rollout
from models.testing import tiny_spec, write_tiny_checkpoint
from tests.helpers import random_state, wait_until
from tests.rows import read_forecast
from weather.manifest import NoiseSpec, Sampling
from weather.stores.rounding import round_bits
from workers.lead_times import StagedSummary, begin_summary
from workers.loop import Worker
from workers.standalone import StandaloneForecast, run_forecast

CPU = torch.device("cpu")
SAMPLING = Sampling(nfe=2)


def _standalone(checkpoint: Path, num_frames: int, num_lead_times: int) -> StandaloneForecast:
    state = random_state(num_frames=num_frames)
    return StandaloneForecast(state, checkpoint, tuple(range(3)), num_lead_times, 2, 3, SAMPLING, CPU)


@pytest.mark.parametrize(("num_frames", "hours"), [(3, 12), (2, 24)])
def test_a_forecast_is_the_rollout_from_all_frames_and_resumes_exactly(
    num_frames: int, hours: int, tmp_path: Path
) -> None:
    """It holds one lead time when it is resumed, so that it goes on from lead times and frames of the initial state."""
    spec = tiny_spec(context_frames=num_frames, time_step_hours=hours)
    noise = NoiseSpec(correlation=0.5)
    write_tiny_checkpoint(tmp_path / "checkpoint", spec=spec, noise=noise)
    forecast = _standalone(tmp_path / "checkpoint", num_frames, 3)

    run_forecast(forecast, tmp_path / "forecast", resume=False, report=lambda _: None)
    for chunk in (tmp_path / "forecast/ensemble.zarr").glob("*/c.*"):
        if chunk.parent.name in ("u10", "v10", "complete"):
            index = chunk.name.split(".")
            lead_index = int(index[1] if chunk.parent.name == "complete" else index[2])
            if lead_index > 0:
                chunk.unlink()
    receipt = run_forecast(forecast, tmp_path / "forecast", resume=True, report=lambda _: None)
    assert receipt.lead_times_resumed == 2
    stored = xr.open_zarr(tmp_path / "forecast/ensemble.zarr").load()
    assert stored.lead_time.values.tolist() == [np.timedelta64(hours * (i + 1), "h").astype("m8[ns]") for i in range(3)]
    networks, _ = load_checkpoint(tmp_path / "checkpoint", CPU)
    frames = [torch.from_numpy(frame).expand(2, -1, -1, -1) for frame in forecast.state.frames]
    init_time = forecast.state.init_time
    drawn = ForecastNoise.of(spec, noise, seed=3, init_time=init_time).draw((0, 1))
    states = rollout(Forecaster(networks, SAMPLING, CPU), frames, drawn, init_time=init_time)
    for lead_index, expected in enumerate(itertools.islice(states, 3)):
        found = stored.isel(lead_time=lead_index, number=slice(2))
        for channel, name in enumerate(("u10", "v10")):
            np.testing.assert_allclose(found[name].values[0], expected[:, channel], rtol=0, atol=1e-5)


def test_the_oldest_frame_changes_the_forecast(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "checkpoint", spec=tiny_spec(context_frames=3))
    results = []
    for name, factor in (("as it is", 1), ("changed", 1.5)):
        forecast = _standalone(tmp_path / "checkpoint", 3, 1)
        *newer, oldest = forecast.state.frames
        object.__setattr__(forecast.state, "frames", (*newer, np.float32(factor) * oldest))
        run_forecast(forecast, tmp_path / name, resume=False, report=lambda _: None)
        results.append(xr.open_zarr(tmp_path / name / "ensemble.zarr").u10.values)
    assert np.abs(results[0] - results[1]).max() > 1e-3


def test_a_worker_restarts_from_as_many_lead_times_as_the_context_has_frames(
    worker: Worker, settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members are stored rounded, so that the lead times to restart from are those of the restart store."""
    manifest = write_tiny_checkpoint(
        tmp_path / "three", trained=False, spec=tiny_spec(context_frames=3), noise=NoiseSpec(correlation=0.5, scale=1.1)
    )
    state, data = random_state(num_frames=3), settings.storage.data
    request = ForecastRequest(
        checkpoint=str(tmp_path / "three"),
        checkpoint_digest=manifest.digest,
        initial_state_digest=state.digest,
        sources=state.sources,
        init_time="2018-09-15T00:00:00",
        lead_hours=54,
        members=3,
        group_size=2,
        seed=3,
        sampling=SAMPLING,
        output=Output(keep_bits=5),
    )
    record, _ = submit(database, data, "local", Plan.of(request, manifest), state, manifest)
    folder, kept = ForecastFolder(data, record.id), list[set[str]]()
    restart = Path(str(folder.frames))

    def die_once(*arguments: Any) -> StagedSummary | None:
        kept.append({path.name.split(".")[2] for path in restart.glob("u10/c.0.*")})
        if len(kept) == 6:
            raise SystemExit
        return begin_summary(*arguments)

    monkeypatch.setattr("workers.attempt.begin_summary", die_once)
    with pytest.raises(SystemExit):
        worker.run()
    wait_until(lambda: not worker.run())
    assert read_forecast(database, record.id).status == Status.SUCCESSFUL
    assert 4 <= max(map(len, kept[:6])) <= 5, "three to restart from, and those before, which are removed next"
    run_forecast(_standalone(tmp_path / "three", 3, 9), tmp_path / "alone", resume=False, report=lambda _: None)
    rounded, exact = (xr.open_zarr(path).load() for path in (folder.store, tmp_path / "alone/ensemble.zarr"))
    for name in ("u10", "v10"):
        np.testing.assert_array_equal(rounded[name], round_bits(exact[name].values, 5))
