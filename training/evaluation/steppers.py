"""Steppers of an evaluation: one keeps the residuals of a forecaster, one replaces its flow by Gaussian noise."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from diagnostics.scores.arrays import area_mean
from diagnostics.scores.random_fields import isotropic_fields
from diagnostics.scores.spectra import spherical_spectrum
from models.forecaster import Forecaster
from models.rollout import Stepper
from models.shapes import Fields, Frames
from models.valid_range import ValidRange
from models.warm_start import normalised_residual
from training.data.training_data import TrainingData
from training.evaluation.context import load_context
from training.evaluation.settings import spread_ends
from weather.errors import TrainingDataError
from weather.manifest import Provenance
from weather.periods import Period, find_shared, format_periods

_CONTROL_SAMPLES = 32
"""Number of samples on whose residuals the colour of the control's noise is fitted."""


class ResidualStepper:
    """A stepper that keeps the normalised residuals of its states from the warm start about which they were drawn.

    Only those of the first `num_steps` calls are kept, or all; each costs one more evaluation of h.
    """

    def __init__(self, stepper: Stepper, forecaster: Forecaster, num_steps: int | None = None) -> None:
        self.spec, self.device = stepper.spec, stepper.device
        self._stepper, self._forecaster, self._num_steps = stepper, forecaster, num_steps
        self.residuals: list[Fields] = []

    def step(self, frames: Frames, valid_time: np.datetime64, noise: Fields) -> Fields:
        """Return the states one time step after `frames`, and keep their residuals."""
        states = self._stepper.step(frames, valid_time, noise)
        if self._num_steps is None or len(self.residuals) < self._num_steps:
            mean, std = self._forecaster.warm_start(frames, valid_time)
            self.residuals.append(normalised_residual(states, mean, std))
        return states


class GaussianControl:
    """The control of an evaluation: x = μ + σ·z with Gaussian noise z of the colour of true residuals, without a flow.

    z is isotropic, with `power` (variable, total wavenumber) and no correlation between variables; the colour of the
    forecaster's specification is left out. z is linear in the noise of the forecaster, so that both have the same
    correlation in time.
    """

    def __init__(self, forecaster: Forecaster, power: NDArray[np.float64]) -> None:
        self.spec, self.device = forecaster.spec.model_copy(update={"colour": None}), forecaster.device
        self._forecaster = forecaster
        self._valid_range = ValidRange(forecaster.spec.known_variables, forecaster.device)
        self._power = torch.from_numpy(power.astype(np.float32)).to(forecaster.device)

    def step(self, frames: Frames, valid_time: np.datetime64, noise: Fields) -> Fields:
        """Return the states one time step after `frames`; lost members are NaN."""
        mean, std = self._forecaster.warm_start(frames, valid_time)
        colour: Fields = isotropic_fields(noise, self._power, self.spec.grid.grid)
        return self._valid_range.mask_lost_members(mean + std * colour)


def true_residuals(forecaster: Forecaster, data: TrainingData, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the normalised residual (sample, variable, latitude, longitude) of the target of each sample."""
    residuals = []
    for index in indices:
        frames, target = load_context(forecaster, data, int(index)), data.frames(data.shift(np.array([index]), 1))[0]
        mean, std = (field[0].cpu().numpy() for field in forecaster.warm_start(frames, data.valid_times[index]))
        residuals.append((target - mean) / std)
    return np.stack(residuals)


def fit_power(forecaster: Forecaster, data: TrainingData, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean power (variable, total wavenumber) of the residuals of samples, scaled to their mean square.

    The scale makes up for the power of the residuals beyond the grid's limit of isotropic fields.
    """
    residuals = true_residuals(forecaster, data, indices).astype(np.float64)
    power = np.asarray(spherical_spectrum(residuals, data.grid)).mean(axis=0)
    square = np.asarray(area_mean(residuals**2, data.grid.area_weights)).mean(axis=0)
    return np.asarray(power * (square / power.sum(axis=-1))[:, None])


def fit_control(
    forecaster: Forecaster, provenance: Provenance, data: TrainingData, evaluated: Sequence[Period]
) -> GaussianControl:
    """Return the control, fitted on the validation periods, or on those of training if the former are `evaluated`.

    Raises `TrainingDataError` if the data holds no sample of either.
    """
    train, validation = provenance.train_years, provenance.validation_years
    for periods in (train,) if not validation or find_shared(validation, evaluated) else (validation, train):
        samples = data.sample_indices(periods)
        if len(samples):
            chosen = spread_ends(samples, min(_CONTROL_SAMPLES, len(samples)))
            return GaussianControl(forecaster, fit_power(forecaster, data, chosen))
    raise TrainingDataError(
        f"The control of Gaussian noise is fitted on frames of the training years {format_periods(train)}. Got: none. "
        "Give their data too, or pass --no-control."
    )
