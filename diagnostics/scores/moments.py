"""Mean, variance and spread over the members of an ensemble, and the ratio of spread to error."""

import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.arrays import Array, area_mean, namespace


def ensemble_mean(ensemble: Array) -> Array:
    """Return the mean over the first axis, the members. NaN propagates."""
    return namespace(ensemble).mean(ensemble, axis=0)


def ensemble_variance(ensemble: Array) -> Array:
    """Return the unbiased variance over the first axis, the members; raises `ValueError` for fewer than two."""
    if ensemble.shape[0] < 2:
        raise ValueError(f"The spread needs at least 2 members. Got: {ensemble.shape[0]}.")
    return namespace(ensemble).var(ensemble, axis=0, correction=1)


def ensemble_std(ensemble: Array) -> Array:
    """Return the square root of the unbiased variance over members; raises `ValueError` for fewer than two."""
    return namespace(ensemble).sqrt(ensemble_variance(ensemble))


def spread(ensemble: Array, area_weights: NDArray[np.float64]) -> float:
    """Return √(area mean of the unbiased variance), the spread to compare with an RMSE.

    `ensemble` is (member, latitude, longitude), `area_weights` (latitude). NaN propagates.
    """
    return float(np.sqrt(float(area_mean(ensemble_variance(ensemble), area_weights))))


def ensemble_mean_squared_error(ensemble: Array, truth: Array) -> Array:
    """Return the squared error of the ensemble mean at each point; the root of its area mean is the RMSE.

    `ensemble` is (member, *shape of truth). NaN propagates.
    """
    return (ensemble_mean(ensemble) - truth) ** 2


def spread_skill_ratio(
    variance: NDArray[np.float64], squared_error: NDArray[np.float64], members: int
) -> NDArray[np.float64]:
    """Return √((1 + 1/M)·variance / squared error), 1 for a reliable ensemble of any size.

    `variance` is the mean unbiased variance of M members and `squared_error` the mean squared error of their mean, over
    the same points and starts. For a reliable ensemble E(x̄ − y)² = (1 + 1/M)·variance. Source: Fortin et al. (2014).
    """
    return np.asarray(np.sqrt((1 + 1 / members) * variance / squared_error))
