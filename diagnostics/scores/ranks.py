"""Rank histogram of an ensemble, PIT and coverage of a Gaussian; a reliable forecast has flat histograms."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from diagnostics.scores.arrays import Array, namespace, to_numpy


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
    """Return the M + 1 weighted counts of the truth's ranks; `weights` (such as area weights) broadcast to `truth`."""
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
