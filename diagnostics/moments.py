"""Moments of an ensemble over its members, and their area means."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ensemble_mean(ensemble: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean over members, the first axis, in float64."""
    return np.asarray(ensemble.mean(axis=0, dtype=np.float64))


def ensemble_std(ensemble: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the standard deviation over members, the first axis, of unbiased variance, in float64.

    Raises `ValueError` for fewer than two members.
    """
    if ensemble.shape[0] < 2:
        raise ValueError(f"The spread needs at least 2 members. Got: {ensemble.shape[0]}.")
    return np.asarray(ensemble.std(axis=0, ddof=1, dtype=np.float64))


def spread(ensemble: NDArray[np.float32], area_weights: ArrayLike) -> float:
    """Return √(area mean of the unbiased ensemble variance), the spread that compares with an RMSE.

    `ensemble` is (member, latitude, longitude), `area_weights` (latitude) with mean 1. NaN propagates.
    """
    weights = np.asarray(area_weights)[:, None]
    return float(np.sqrt((ensemble_std(ensemble) ** 2 * weights).mean()))
