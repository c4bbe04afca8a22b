"""The growth of a rollout: its distance from climatology at each step, and the factor by which that changes a step.

The states of a stable rollout stay at one distance from climatology, with a factor of 1 but for the weather, or decay
towards it, with a factor below 1. If the step is linear, the factor tends to the modulus of its leading eigenvalue.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.arrays import Array, area_mean, like, namespace

GROWTH_LAG = 40
"""Steps over which growth is measured: ten days of 6-hour steps, longer than weather remembers."""


def anomaly_amplitude(
    states: Array, climatology: Array, scales: Sequence[float], area_weights: NDArray[np.float64]
) -> Array:
    """Return a = √(mean over variables of ⟨((x − c)/s)²⟩), the distance of states from climatology, of shape (…).

    `states` (x) is (…, variable, latitude, longitude), `climatology` (c) the same without the leading axes, `scales`
    (s) the standard deviation of each variable, and ⟨·⟩ the area mean. Without unit; about 1 for weather. NaN
    propagates.
    """
    xp = namespace(states, climatology)
    units = like(np.asarray(scales, np.float64), states)[:, None, None]
    return xp.sqrt(xp.mean(area_mean(((states - climatology) / units) ** 2, area_weights), axis=-1))


def growth_factor(amplitudes: Array, lag: int = GROWTH_LAG) -> Array:
    """Return the factor by which an amplitude a_k grows in a step, of shape (…): the mean of (a_{k+n} / a_k)^(1/n).

    `amplitudes` is (step, …), at consecutive steps. The mean is geometric and over all k; n is `lag`, or half the
    steps if that is less. For a_k = c·λ^k it is exactly λ; e-folding takes 1/ln g steps. NaN propagates. Raises
    `ValueError` for fewer than two steps.
    """
    steps = int(amplitudes.shape[0])
    if steps < 2:
        raise ValueError(f"A growth factor needs at least 2 steps. Got: {steps}.")
    xp = namespace(amplitudes)
    lag = min(lag, steps // 2)
    logarithms = xp.log(amplitudes)
    return xp.exp(xp.mean(logarithms[lag:] - logarithms[:-lag], axis=0) / lag)
