"""The correlation in time of normalised residuals z = (x − μ)/σ, of a truth or of members.

If N(μ, σ²) is a calibrated forecast of each value, z has mean 0 and variance 1 at every point and time. Its spectrum
(`diagnostics.scores.spectra`) and its correlation in time remain free, and those of members should be those of a truth.
"""

import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.arrays import Array, area_mean, namespace


def lag_pairs(valid_times: NDArray[np.datetime64], lag: np.timedelta64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the times whose time `lag` later is present too, and the indices of those later times.

    `valid_times` ascends without repetition and may have gaps; a pair may span one.
    """
    position = np.searchsorted(valid_times, valid_times + lag)
    inside = position < len(valid_times)
    earlier = np.nonzero(inside)[0][valid_times[position[inside]] == valid_times[inside] + lag]
    return earlier, position[earlier]


def time_correlation(earlier: Array, later: Array, area_weights: NDArray[np.float64]) -> Array:
    """Return the correlation of residuals with those one lag later, r = Σ⟨a·b⟩ / √(Σ⟨a²⟩ · Σ⟨b²⟩), of shape (…).

    `earlier` (a) and `later` (b) are (pair, …, latitude, longitude); the sums are over pairs, and ⟨·⟩ is the area mean.
    Residuals are not centred: their expectation is 0, so a bias that lasts counts as correlation. For
    z_k = φ·z_{k−1} + √(1−φ²)·ξ_k with white ξ, r is φ^lag. NaN propagates. Raises `ValueError` for shapes that differ
    and for no pair.
    """
    if tuple(earlier.shape) != tuple(later.shape) or not earlier.shape[0]:
        raise ValueError(
            "`earlier` and `later` must be (pair, …, latitude, longitude) with the same shape and at least one pair. "
            f"Got: {tuple(earlier.shape)} and {tuple(later.shape)}."
        )
    xp = namespace(earlier, later)
    product, first, second = (
        xp.sum(area_mean(a * b, area_weights), axis=0)
        for a, b in ((earlier, later), (earlier, earlier), (later, later))
    )
    return product / xp.sqrt(first * second)
