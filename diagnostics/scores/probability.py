"""Probability forecasts of exceeding a threshold: the Brier score and reliability."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diagnostics.scores.arrays import Array, like, namespace, to_numpy


def exceedance_probability(ensemble: Array, threshold: float) -> Array:
    """Return the fraction of members above `threshold` at each point. NaN in any member gives NaN."""
    xp = namespace(ensemble)
    share = xp.mean(xp.astype(ensemble > threshold, ensemble.dtype), axis=0)
    return xp.where(xp.any(xp.isnan(ensemble), axis=0), like(np.asarray(np.nan), ensemble), share)


def brier_biased(ensemble: Array, truth: Array, threshold: float) -> Array:
    """Return the Brier score (p − o)²: p is the fraction of members above `threshold`, o the outcome."""
    xp = namespace(ensemble, truth)
    outcome = xp.where(xp.isnan(truth), truth, xp.astype(truth > threshold, truth.dtype))
    return (exceedance_probability(ensemble, threshold) - outcome) ** 2


def brier_fair(ensemble: Array, truth: Array, threshold: float) -> Array:
    """Return the fair Brier score, (p − o)² − p(1−p)/(M−1), which does not depend on the number of members M.

    Raises `ValueError` for fewer than two members. Source: Ferro (2014).
    """
    members = ensemble.shape[0]
    if members < 2:
        raise ValueError(f"The fair Brier score needs at least 2 members. Got: {members}.")
    share = exceedance_probability(ensemble, threshold)
    return brier_biased(ensemble, truth, threshold) - share * (1 - share) / (members - 1)


def reliability(
    ensemble: Array, truth: Array, threshold: float, weights: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how often each probability i/M was forecast, and how often the event occurred when it was.

    i is the number of members above `threshold`, out of M. Both arrays are weighted counts of length M + 1; their
    ratio, the observed frequency, against i/M is the reliability diagram. Raises `ValueError` if a value is NaN.
    """
    xp = namespace(ensemble, truth)
    if bool(xp.any(xp.isnan(ensemble))) or bool(xp.any(xp.isnan(truth))):
        raise ValueError("Reliability needs finite values. Got: NaN in `ensemble` or `truth`.")
    above = to_numpy(xp.sum(xp.astype(ensemble > threshold, xp.int64), axis=0)).ravel()
    outcome = to_numpy(truth > threshold)
    weighted = np.broadcast_to(1.0 if weights is None else np.asarray(weights, np.float64), outcome.shape).ravel()
    size = ensemble.shape[0] + 1
    counts = [np.bincount(above, part, size) for part in (weighted, weighted * outcome.ravel())]
    return np.asarray(counts[0], np.float64), np.asarray(counts[1], np.float64)
