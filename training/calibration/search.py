"""The search for the noise of a checkpoint: a first guess from residuals of truth, then a simplex on the objective."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from diagnostics.scores.arrays import area_mean
from diagnostics.scores.residuals import time_correlation
from training.data.training_data import TrainingData
from training.evaluation.settings import spread_ends
from training.evaluation.steppers import true_residuals
from training.evaluation.subject import Subject
from weather.manifest import NoiseSpec
from weather.periods import Period

MAX_CORRELATION = 0.95

_BOUNDS = ((0.0, MAX_CORRELATION), (0.0, MAX_CORRELATION), (np.log(6.0), np.log(240.0)), (0.7, 1.6))
"""Bounds of `correlation`, `late_correlation`, the logarithm of `decay_hours`, and `scale`."""

_SIDES = (0.2, 0.15, np.log(2.0), 0.08)
"""Sides of the first simplex."""

_GUESS_SAMPLES = 24
"""Number of samples whose residuals, and those of the next two time steps, give the first guess."""


def guess_noise(subject: Subject, data: TrainingData, years: tuple[Period, ...]) -> NoiseSpec:
    """Return the noise whose correlation and variance are those of the true residuals (x − μ)/σ one time step ahead.

    φ = r_1 and φ_late = r_2/r_1, of the residuals' correlation r after one and two time steps; the scale is their root
    mean square. Forecasts depart from the truth, so that this is not yet the noise they need. Without three
    consecutive samples it is a correlation of 0.3.
    """
    samples = data.sample_indices(years)
    runs = np.stack([data.shift(samples, step) for step in range(3)])
    runs = runs[:, np.isin(runs, samples).all(axis=0)]
    if not runs.size:
        return NoiseSpec(correlation=0.3, late_correlation=0.3)
    chosen = spread_ends(np.arange(runs.shape[1]), min(_GUESS_SAMPLES, runs.shape[1]))
    first, second, third = (true_residuals(subject.forecaster, data, run[chosen]) for run in runs)
    weights = data.grid.area_weights
    one, two = (float(np.mean(time_correlation(first, later, weights))) for later in (second, third))
    mean_square = float(np.mean(area_mean(first.astype(np.float64) ** 2, weights)))
    return _to_noise(np.array([one, two / one if one > 0 else 0.0, np.log(24.0), np.sqrt(mean_square)]))


def search_noise(evaluate: Callable[[NoiseSpec], float], guess: NoiseSpec, num_trials: int) -> None:
    """Call `evaluate` for about `num_trials` noises, first around `guess`, then where its values are lowest.

    The search is deterministic: the same values lead to the same noises. Source: Nelder and Mead's simplex.
    """
    parameters = guess.parameters
    start = np.array(
        [
            parameters["correlation"],
            parameters["late_correlation"],
            np.log(parameters["decay_hours"]),
            parameters["scale"],
        ]
    )
    simplex: NDArray[np.float64] = np.vstack([start, *(start + np.eye(len(start)) * _SIDES)])

    def evaluate_point(point: NDArray[np.float64], *_: Any) -> float:
        return evaluate(_to_noise(point))

    minimize(
        evaluate_point,
        start,
        method="Nelder-Mead",
        bounds=Bounds(*np.transpose(_BOUNDS)),
        options={"initial_simplex": simplex, "maxfev": num_trials, "xatol": 0.01, "fatol": 1e-4},
    )


def _to_noise(point: NDArray[np.float64]) -> NoiseSpec:
    """Return the noise of a point of the search, within the bounds, in steps that differ noticeably."""
    low, high = np.transpose(_BOUNDS)
    correlation, late, log_decay, scale = np.clip(point, low, high).tolist()
    return NoiseSpec(
        correlation=round(correlation, 2),
        late_correlation=round(late, 2),
        decay_hours=float(round(np.exp(log_decay))),
        scale=round(scale, 3),
    )
