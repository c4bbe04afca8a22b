from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from models.noise import ForecastNoise
from models.testing import write_tiny_checkpoint
from tests.helpers import random_state
from weather.manifest import NoiseSpec, Sampling
from weather.stores.ensemble import EnsembleStore
from workers.rollouts import Rollouts
from workers.standalone import StandaloneForecast, run_forecast

CPU = torch.device("cpu")


@pytest.mark.parametrize("threads", [1, 3])
def test_groups_that_resume_at_different_lead_times_have_the_noise_of_the_uninterrupted_forecast(
    tmp_path: Path, threads: int
) -> None:
    """Their noise is correlated in time, so that it depends on that of the lead times before."""
    manifest = write_tiny_checkpoint(tmp_path / "checkpoint", noise=NoiseSpec(correlation=0.7, scale=1.1))
    state = random_state()
    forecast = StandaloneForecast(state, tmp_path / "checkpoint", tuple(range(5)), 4, 2, 3, Sampling(nfe=2), CPU)
    run_forecast(forecast, tmp_path / "forecast", resume=False, report=lambda _: None)
    store = EnsembleStore.open(tmp_path / "forecast/ensemble.zarr")
    networks, _ = load_checkpoint(tmp_path / "checkpoint", CPU)
    forecaster = Forecaster(networks, Sampling(nfe=2), CPU)
    noise = ForecastNoise.of(manifest.model, manifest.noise, seed=3, init_time=state.init_time)
    rollouts = Rollouts(forecaster, state, store, {0: 3, 1: 1, 2: 2}, noise, threads)
    computed = [states for lead_index in range(1, 4) for states in rollouts.advance(lead_index)]
    assert [(states.group, states.lead_index) for states in computed] == [
        (1, 1),
        (1, 2),
        (2, 2),
        (0, 3),
        (1, 3),
        (2, 3),
    ]
    for states in computed:
        np.testing.assert_array_equal(states.fetch(), store.group_fields(states.group, states.lead_index))
