"""Calibration of probabilities: Brier score and reliability of a threshold, ranks, and coverage of intervals."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from diagnostics.scores.arrays import Array, like, namespace, to_numpy


def exceedance_probability(ensemble: Array, threshold: float) -> Array:
    """Return the fraction of members (axis 0) above `threshold` at each point. NaN in any member gives NaN."""
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


def ranks(ensemble: Array, truth: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the rank of the truth among the members, 0 to M, of the shape of `truth`; ties are broken at random.

    Raises `ValueError` if a value is NaN.
    """
    xp = namespace(ensemble, truth)
    if bool(xp.any(xp.isnan(ensemble))) or bool(xp.any(xp.isnan(truth))):
        raise ValueError("Ranks need finite values. Got: NaN in `ensemble` or `truth`.")
    below = to_numpy(xp.sum(xp.astype(ensemble < truth, xp.int64), axis=0))
    ties = to_numpy(xp.sum(xp.astype(ensemble == truth, xp.int64), axis=0))
    return np.asarray(below + rng.integers(0, ties, endpoint=True), dtype=np.int64)


def rank_histogram(
    ensemble: Array, truth: Array, rng: np.random.Generator, weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return the M + 1 weighted counts of the truth's ranks among M members (axis 0 of `ensemble`).

    `weights` (such as area weights) broadcast to `truth`, and are 1 by default. Ties are broken at random by `rng`.
    Raises `ValueError` if a value is NaN.
    """
    truth_ranks = ranks(ensemble, truth, rng)
    weighted = np.broadcast_to(1.0 if weights is None else np.asarray(weights, np.float64), truth_ranks.shape)
    return np.asarray(np.bincount(truth_ranks.ravel(), weighted.ravel(), ensemble.shape[0] + 1), np.float64)


def pit_gaussian(mean: Array, std: Array, truth: Array) -> NDArray[Any]:
    """Return the probability integral transform Φ((truth − mean)/std), uniform if reliable. NaN propagates."""
    return np.asarray(ndtr(to_numpy((truth - mean) / std)))


def coverage(pit: NDArray[Any], level: float) -> NDArray[np.bool_]:
    """Return a mask of the points whose truth is within the central interval of probability `level`, from its PIT.

    Raises `ValueError` for a level outside (0, 1) and if the PIT is NaN anywhere.
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1. Got: {level}.")
    if np.isnan(pit).any():
        raise ValueError("Coverage needs finite values. Got: NaN in `pit`.")
    return np.asarray(np.abs(pit - 0.5) <= level / 2)
