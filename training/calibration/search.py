"""The search for the noise of a checkpoint: a first guess from residuals of truth, then a simplex on the objective."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from diagnostics.scores.arrays import area_mean
from diagnostics.scores.residuals import time_correlation
from models.noise import ForecastNoise
from models.rollout import rollout
from training.data.training_data import TrainingData
from training.evaluation.context import load_context
from training.evaluation.settings import spread_ends
from training.evaluation.steppers import true_residuals
from training.evaluation.subject import Subject
from weather.manifest import WHITE, ModelSpec, NoiseSpec
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
        frames, init_time = load_context(forecaster, data, int(index)), data.valid_times[index]
        noise = ForecastNoise.of(forecaster.spec, WHITE, seed=0, init_time=init_time).draw([0])
        states = next(rollout(forecaster, frames, noise, init_time=init_time))
        mean, std = forecaster.warm_start(frames, init_time)
        residuals.append(((states - mean) / std)[0].cpu().numpy())
    return np.stack(residuals)


def count_first(spec: ModelSpec, *, scale_only: bool) -> int:
    """Return the number of noises that are tried before any depends on the values of others."""
    return 1 + len(spec.variables) + (0 if scale_only else len(_SIDES))


def search_noise(evaluate: Callable[[NoiseSpec], float], guess: NoiseSpec, num_trials: int) -> None:
    """Call `evaluate` for about `num_trials` noises, first around `guess`, then where its values are lowest.

    Each scale stays so close to the guess that the power of one-step residuals changes by 5 % at most, because scores
    of a few starts determine it less well. The search is deterministic: the same values lead to the same noises.
    Source: Nelder and Mead's simplex.
    """
    scales = _scales(guess)
    late = guess.correlation if guess.late_correlation is None else guess.late_correlation
    start = np.array([guess.correlation, late, np.log(guess.decay_hours), *scales])
    low, high = np.transpose([*_BOUNDS, *np.transpose(_bound(scales))])
    sides = np.diag([*_SIDES, *(_SCALE_SIDE for _ in scales)])
    simplex: NDArray[np.float64] = np.vstack([start, *(start + sides)])

    def evaluate_point(point: NDArray[np.float64], *_: Any) -> float:
        return evaluate(_to_noise(np.clip(point, low, high), guess))

    minimize(
        evaluate_point,
        start,
        method="Nelder-Mead",
        bounds=Bounds(low, high),
        options={"initial_simplex": simplex, "maxfev": num_trials, "xatol": 0.01, "fatol": 1e-4},
    )


def search_scales(score: Callable[[NoiseSpec], NDArray[np.float64]], guess: NoiseSpec, num_trials: int) -> None:
    """Call `score` for up to `num_trials` noises of different scales: `guess`, one for each variable, then the best.

    `score` returns r, whose sum of squares is the first part of J in `scale_objective`. r is nearly linear in the
    logarithms of the scales, so that least squares through all that was tried give the scales of the smallest J, which
    is tried next, until it was tried before. Each scale stays as close to the guess as in `search_noise`.
    Source: the method of Gauss and Newton.
    """
    first = _scales(guess)
    low, high = _bound(first)
    tried = [first, *(first + np.diag([_SCALE_SIDE] * len(first)))]
    scores = [score(_with_scales(guess, scales)) for scales in tried]
    while len(tried) < num_trials and np.isfinite(scores).all():
        rows = np.log(np.stack(tried) / first)
        linear = np.linalg.lstsq(np.column_stack([np.ones(len(rows)), rows]), np.stack(scores), rcond=None)[0]
        slopes = np.vstack([linear[1:].T, np.eye(len(first)) / np.sqrt(len(first))])
        values = np.concatenate([-linear[0], np.zeros(len(first))])
        best = first * np.exp(np.linalg.lstsq(slopes, values, rcond=None)[0])
        best = np.round(np.clip(best, low, high), 3)
        if any(np.array_equal(best, scales) for scales in tried):
            break
        tried.append(best)
        scores.append(score(_with_scales(guess, best)))


def _scales(noise: NoiseSpec) -> NDArray[np.float64]:
    assert isinstance(noise.scale, dict)
    return np.array(list(noise.scale.values()))


def _bound(scales: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return scales * np.sqrt(1 - _POWER_CHANGE), scales * np.sqrt(1 + _POWER_CHANGE)


def _with_scales(noise: NoiseSpec, scales: NDArray[np.float64]) -> NoiseSpec:
    """Return the noise with other scales, in steps that differ noticeably."""
    assert isinstance(noise.scale, dict)
    scale = {name: round(value, 3) for name, value in zip(noise.scale, scales.tolist(), strict=True)}
    return noise.model_copy(update={"scale": scale})


def _to_noise(point: NDArray[np.float64], guess: NoiseSpec) -> NoiseSpec:
    """Return the noise of a point of the search, in steps that differ noticeably."""
    correlation, late, log_decay = point[: len(_SIDES)].tolist()
    return _with_scales(
        NoiseSpec(
            correlation=round(correlation, 2),
            late_correlation=round(late, 2),
            decay_hours=float(round(np.exp(log_decay))),
            scale=guess.scale,
        ),
        point[len(_SIDES) :],
    )
