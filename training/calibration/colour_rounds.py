"""Rounds of the fit of a colour: the power of members' residuals after one time step beside that of the truth's.

The power of a residual at a wavenumber is nearly proportional to that of the noise: log g ← log g − e/2, where e is the
part of log η beyond its sampling error.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diagnostics.scores.spectra import power_ratio, spherical_spectrum, total_deviation
from models.noise import ForecastNoise
from models.rollout import rollout
from models.warm_start import normalised_residual
from storage.errors import ConfigurationError
from training.calibration.rounds import Round
from training.data.training_data import TrainingData
from training.evaluation.context import load_context
from training.evaluation.settings import Evaluation
from training.evaluation.subject import Subject
from weather.manifest import ModelSpec
from weather.noise_colour import NoiseColour

_ERRORS = 1.0
"""Standard errors of log η within which a gain stays."""

_LEAST_GAIN, _LARGEST_GAIN = 0.25, 4.0
_NO_POWER = 1e-9

Values = NDArray[np.float64]


def first_colour(spec: ModelSpec, decay_hours: float) -> NoiseColour:
    """Return the colour of the first round, which changes nothing."""
    gains = ((1.0,) * (spec.grid.grid.highest_wavenumber + 1),) * len(spec.variables)
    return NoiseColour(gains=gains, decay_hours=decay_hours)


def next_colour(each: Round) -> NoiseColour | None:
    """Return the colour to try after a round; None if its residuals have the power of the truth's."""
    excess = np.array(each["excess"])
    significant = np.sign(excess) * np.maximum(np.abs(excess) - _ERRORS * np.array(each["error"]), 0)
    gains = np.array(each["colour"]["gains"]) * np.exp(-significant / 2)
    changed = np.round(np.clip(gains, _LEAST_GAIN, _LARGEST_GAIN), 3).tolist()
    if changed == each["colour"]["gains"]:
        return None
    return NoiseColour(gains=changed, decay_hours=each["colour"]["decay_hours"])


def measure_round(
    subject: Subject, data: TrainingData, samples: Sequence[int], evaluation: Evaluation
) -> dict[str, Any]:
    """Return the round of the colour that `subject` has, from one time step of members after each of the samples.

    Members and seed are those of `evaluation`. The error of log η is that from leaving out one sample after another
    (jackknife); the deviation is the mean over variables. Raises `ConfigurationError` if a member was lost.
    """
    colour = subject.manifest.model.colour
    assert colour is not None
    power = np.stack([measure_sample(subject, data, sample, evaluation) for sample in samples], axis=1)
    if not np.isfinite(power).all():
        raise ConfigurationError(
            "`colour_rounds` must be 0 for this checkpoint: one time step loses members.", ("colour_rounds",)
        )
    total = power.sum(axis=1)
    left_out = np.log(power_ratio(*(total[:, None] - power)))
    eta = power_ratio(*total)
    return {
        "colour": colour.model_dump(mode="json", exclude={"fitted_on"}),
        "excess": np.round(np.log(eta), 5).tolist(),
        "error": np.round(math.sqrt(len(samples) - 1) * left_out.std(axis=0), 5).tolist(),
        "deviation": round(float(np.mean(total_deviation(eta))), 4),
    }


def measure_sample(subject: Subject, data: TrainingData, sample: int, evaluation: Evaluation) -> Values:
    """Return the power (2, variable, ℓ) of residuals (x − μ)/σ after one time step: members' mean, and the truth's."""
    forecaster, init_time = subject.forecaster, data.valid_times[sample]
    frames = load_context(forecaster, data, sample)
    truth = torch.from_numpy(data.frames(data.shift(np.array([sample]), 1))).to(forecaster.device)
    mean, std = forecaster.warm_start(frames, init_time)
    noise = ForecastNoise.of(forecaster.spec, subject.manifest.noise, seed=evaluation.seed, init_time=init_time)
    members, of_members = range(evaluation.num_members), []
    for first in members[:: evaluation.group_size]:
        group = members[first : first + evaluation.group_size]
        shared = [frame.expand(len(group), -1, -1, -1) for frame in frames]
        states = next(rollout(forecaster, shared, noise.draw(group), init_time=init_time))
        about = (field.expand_as(states) for field in (mean, std))
        of_members.append(_power(normalised_residual(states, *about), forecaster.spec))
    of_truth = _power(normalised_residual(truth, mean, std), forecaster.spec)
    power = np.stack([np.concatenate(of_members).mean(axis=0), of_truth[0]])
    return np.asarray(np.maximum(power, _NO_POWER * power.sum(axis=-1, keepdims=True)))


def _power(residuals: Tensor, spec: ModelSpec) -> Values:
    return np.asarray(spherical_spectrum(residuals.cpu().numpy().astype(np.float64), spec.grid.grid))
