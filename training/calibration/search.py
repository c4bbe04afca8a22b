"""The search for the noise of a checkpoint: a first guess from residuals of truth, then a simplex on the objective."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from diagnostics.scores.arrays import area_mean
from diagnostics.scores.residuals import time_correlation
from models.noise import ForecastNoise
from training.data.training_data import TrainingData
from training.evaluation.settings import spread_ends
from training.evaluation.steppers import true_residuals
from training.evaluation.subject import Subject
from weather.manifest import WHITE, NoiseSpec
from weather.periods import Period

MAX_CORRELATION = 0.95

_BOUNDS = ((0.0, MAX_CORRELATION), (0.0, MAX_CORRELATION), (np.log(6.0), np.log(240.0)))
"""Bounds of `correlation`, `late_correlation` and the logarithm of `decay_hours`."""

_POWER_CHANGE = 0.05
"""Largest relative change of the power of one-step residuals from that of the first guess, which bounds `scale`."""

_SIDES, _SCALE_SIDE = (0.2, 0.15, np.log(2.0)), 0.02
"""Sides of the first simplex, of the same three and of a scale."""

_GUESS_SAMPLES = 24
"""Number of samples whose residuals, and those of the next two time steps, give the first guess."""


def guess_noise(subject: Subject, data: TrainingData, years: tuple[Period, ...]) -> NoiseSpec:
    """Return the noise whose correlation and variance are those of the true residuals (x − μ)/σ one time step ahead.

    φ = r_1 and φ_late = r_2/r_1, of the residuals' correlation r after one and two time steps; the scale of each
    variable makes the mean square of members' residuals that of the truth's. Forecasts depart from the truth, so that
    this is not yet the noise they need. Without three consecutive samples it is a correlation of 0.3.
    """
    samples = data.sample_indices(years)
    runs = np.stack([data.shift(samples, step) for step in range(3)])
    runs = runs[:, np.isin(runs, samples).all(axis=0)]
    names = subject.manifest.model.variable_names
    if not runs.size:
        return NoiseSpec(correlation=0.3, late_correlation=0.3, scale=dict.fromkeys(names, 1.0))
    chosen = spread_ends(np.arange(runs.shape[1]), min(_GUESS_SAMPLES, runs.shape[1]))
    first, second, third = (true_residuals(subject.forecaster, data, run[chosen]) for run in runs)
    weights = data.grid.area_weights
    one, two = (float(np.mean(time_correlation(first, later, weights))) for later in (second, third))
    truth, members = (
        np.mean(area_mean(residuals.astype(np.float64) ** 2, weights), axis=0)
        for residuals in (first, _member_residuals(subject, data, runs[0][chosen]))
    )
    late = two / one if one > 0 else 0.0
    return NoiseSpec(
        correlation=round(float(np.clip(one, 0, MAX_CORRELATION)), 2),
        late_correlation=round(float(np.clip(late, 0, MAX_CORRELATION)), 2),
        scale={name: round(float(scale), 3) for name, scale in zip(names, np.sqrt(truth / members), strict=True)},
    )


def _member_residuals(subject: Subject, data: TrainingData, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the normalised residual (sample, variable, …) of a member one time step after each sample."""
    forecaster, residuals = subject.forecaster, []
    for index in indices:
        ages, init_time = range(forecaster.spec.context_frames), data.valid_times[index]
        context = [data.frames(data.shift(np.array([index]), -age)) for age in ages]
        frames = tuple(torch.from_numpy(frame).to(forecaster.device) for frame in context)
        noise = next(ForecastNoise.of(forecaster.spec, WHITE, seed=0, init_time=init_time).draw([0]))
        states = forecaster.step(frames, init_time, noise.to(forecaster.device))
        mean, std = forecaster.warm_start(frames, init_time)
        residuals.append(((states - mean) / std)[0].cpu().numpy())
    return np.stack(residuals)


def count_simplex(variables: int, *, scale_only: bool) -> int:
    """Return the number of noises of the first simplex, for so many variables."""
    return 1 + variables + (0 if scale_only else len(_SIDES))


def search_noise(
    evaluate: Callable[[NoiseSpec], float], guess: NoiseSpec, num_trials: int, *, scale_only: bool = False
) -> None:
    """Call `evaluate` for about `num_trials` noises, first around `guess`, then where its values are lowest.

    Each scale stays so close to the guess that the power of one-step residuals changes by 5 % at most, because scores
    of a few starts determine it less well. With `scale_only` the rest stays as it is in the guess. The search is
    deterministic: the same values lead to the same noises. Source: Nelder and Mead's simplex.
    """
    space = _Space(guess, scale_only=scale_only)
    start = space.start
    simplex: NDArray[np.float64] = np.vstack([start, *(start + np.diag(space.sides))])

    def evaluate_point(point: NDArray[np.float64], *_: Any) -> float:
        return evaluate(space.noise(np.clip(point, space.low, space.high)))

    steps, values = (0.002, 1e-5) if scale_only else (0.01, 1e-4)
    minimize(
        evaluate_point,
        start,
        method="Nelder-Mead",
        bounds=Bounds(space.low, space.high),
        options={"initial_simplex": simplex, "maxfev": num_trials, "xatol": steps, "fatol": values},
    )


class _Space:
    """The points of a search around a guess, whose scale is by variable: all parameters, or the scales alone."""

    def __init__(self, guess: NoiseSpec, *, scale_only: bool) -> None:
        assert isinstance(guess.scale, dict)
        self._guess, self._names = guess, tuple(guess.scale)
        scales = np.array(list(guess.scale.values()))
        bounds = [*np.transpose([scales * np.sqrt(1 - _POWER_CHANGE), scales * np.sqrt(1 + _POWER_CHANGE)])]
        sides = [_SCALE_SIDE] * len(scales)
        late = guess.correlation if guess.late_correlation is None else guess.late_correlation
        first = [] if scale_only else [guess.correlation, late, np.log(guess.decay_hours)]
        self.start: NDArray[np.float64] = np.array([*first, *scales])
        self.low, self.high = np.transpose(bounds if scale_only else [*_BOUNDS, *bounds])
        self.sides = np.array(sides if scale_only else [*_SIDES, *sides])

    def noise(self, point: NDArray[np.float64]) -> NoiseSpec:
        """Return the noise of a point, in steps that differ noticeably."""
        first, scales = np.split(point, [len(point) - len(self._names)])
        scale = {name: round(value, 3) for name, value in zip(self._names, scales.tolist(), strict=True)}
        if not first.size:
            return self._guess.model_copy(update={"scale": scale, "fitted_on": None})
        correlation, late, log_decay = first.tolist()
        return NoiseSpec(
            correlation=round(correlation, 2),
            late_correlation=round(late, 2),
            decay_hours=float(round(np.exp(log_decay))),
            scale=scale,
        )
