from pathlib import Path

import numpy as np
import pytest
import torch

from diagnostics.scores.spectra import spherical_spectrum
from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from models.rollout import rollout
from training.data.testing import MemoryFrames
from training.data.training_data import TrainingData
from training.evaluation.steppers import (
    GaussianControl,
    ResidualStepper,
    fit_control,
    fit_power,
    true_residuals,
)
from weather.errors import TrainingDataError
from weather.manifest import Manifest
from weather.noise_colour import NoiseColour
from weather.testing import travelling_waves

CPU = torch.device("cpu")
TIME = np.datetime64("2001-01-03T00", "s")


@pytest.fixture(scope="module")
def loaded(untrained_checkpoint: Path) -> tuple[Forecaster, Manifest, TrainingData]:
    networks, manifest = load_checkpoint(untrained_checkpoint, CPU)
    grid, names = manifest.model.grid.grid, manifest.model.variable_names
    times = np.datetime64("2000-12-20T00", "s") + np.arange(90) * np.timedelta64(6, "h")
    waves = travelling_waves(grid, list(times))
    frames = np.stack([waves[name].values for name in names], axis=1)
    data = TrainingData(MemoryFrames(grid, names, times, frames), np.timedelta64(6, "h"))
    return Forecaster(networks, manifest.sampling.replace(nfe=2), CPU), manifest, data


def test_residuals_are_those_from_the_warm_start_of_the_same_frames(
    loaded: tuple[Forecaster, Manifest, TrainingData],
) -> None:
    forecaster, _, data = loaded
    index = int(data.shift(np.array([20]), 0)[0])
    newest, older = (torch.from_numpy(data.frames(np.array([index - age]))) for age in (0, 1))
    mean, std = forecaster.warm_start((newest, older), data.valid_times[index])
    truth = torch.from_numpy(data.frames(np.array([index + 1])))
    expected = ((truth - mean) / std).numpy()
    np.testing.assert_allclose(true_residuals(forecaster, data, np.array([index])), expected, rtol=1e-5, atol=1e-5)

    stepper = ResidualStepper(forecaster, forecaster, num_steps=1)
    noise = torch.randn(newest.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        states = stepper.step((newest, older), data.valid_times[index], noise)
    assert len(stepper.residuals) == 1
    torch.testing.assert_close(stepper.residuals[0] * std + mean, states)


def test_the_control_draws_members_of_the_colour_of_true_residuals(
    loaded: tuple[Forecaster, Manifest, TrainingData],
) -> None:
    forecaster, manifest, data = loaded
    samples = data.sample_indices((2000,))[:9]
    power, residuals = fit_power(forecaster, data, samples), true_residuals(forecaster, data, samples)
    square = (residuals.astype(np.float64) ** 2 * data.grid.area_weights[:, None]).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(power.sum(axis=1), square, rtol=1e-6)
    colour = spherical_spectrum(residuals.astype(np.float64), data.grid).mean(axis=0)
    np.testing.assert_allclose(power / power.sum(axis=1)[:, None], colour / colour.sum(axis=1)[:, None])

    control = GaussianControl(forecaster, power)
    frames = tuple(torch.from_numpy(data.frames(np.array([20 - age]))).expand(400, -1, -1, -1) for age in (0, 1))
    noise = torch.randn(frames[0].shape, generator=torch.Generator().manual_seed(1))
    mean, std = forecaster.warm_start(frames, TIME)
    drawn = ((control.step(frames, TIME, noise) - mean) / std).numpy()
    got = spherical_spectrum(drawn.astype(np.float64), data.grid).mean(axis=0)
    np.testing.assert_allclose(got[:, 1:], power[:, 1:], rtol=0.25, atol=1e-6)
    assert manifest.model.variable_names == ("u10", "v10")


def test_the_control_does_not_have_the_colour_of_the_forecasts_noise(
    loaded: tuple[Forecaster, Manifest, TrainingData],
) -> None:
    forecaster, manifest, data = loaded
    number = manifest.model.grid.grid.highest_wavenumber + 1
    coloured = forecaster.with_colour(NoiseColour(gains=((2.0,) * number,) * 2))
    frames = [torch.from_numpy(data.frames(np.array([20 - age]))) for age in (0, 1)]
    noise = torch.randn(frames[0].shape, generator=torch.Generator().manual_seed(1))
    power = np.ones((2, number))
    states = [
        next(rollout(stepper, frames, [noise], init_time=TIME))
        for stepper in (GaussianControl(coloured, power), GaussianControl(forecaster, power), coloured, forecaster)
    ]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[2], states[3])


def test_the_control_is_fitted_on_held_out_data_that_is_not_evaluated(
    loaded: tuple[Forecaster, Manifest, TrainingData], monkeypatch: pytest.MonkeyPatch
) -> None:
    forecaster, manifest, data = loaded
    fitted: list[list[int]] = []

    def record(_: Forecaster, data: TrainingData, indices: np.ndarray) -> np.ndarray:
        fitted.append(sorted(set(data.valid_times[indices].astype("datetime64[Y]").astype(int) + 1970)))
        return np.ones((2, 16))

    monkeypatch.setattr("training.evaluation.steppers.fit_power", record)
    provenance = manifest.provenance.model_copy(update={"train_years": (2000,), "validation_years": (2001,)})
    fit_control(forecaster, provenance, data, (2001,))
    fit_control(forecaster, provenance, data, (2002,))
    assert fitted == [[2000], [2001]]
    empty = provenance.model_copy(update={"train_years": (1990, 1991)})
    with pytest.raises(TrainingDataError, match=r"training years 1990–1991\. Got: none\. .* --no-control"):
        fit_control(forecaster, empty, data, (2001,))
