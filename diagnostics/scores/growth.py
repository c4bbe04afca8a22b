"""The growth of a rollout: its distance from climatology at each step, and the factor by which that changes a step.

The states of a stable rollout stay at one distance from climatology, with a factor of 1 but for the weather, or decay
towards it, with a factor below 1. If the step is linear, the factor tends to the modulus of its leading eigenvalue.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.arrays import Array, area_mean, like, namespace


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


def growth_factor(amplitudes: Array) -> Array:
    """Return the factor by which an amplitude a_k grows in a step, g = exp(Σ(k−k̄)·ln a_k / Σ(k−k̄)²), of shape (…).

    `amplitudes` is (step, …), at consecutive steps; g is that of the least-squares line through their logarithms, so a
    factor over any two steps counts by its leverage. For a_k = c·λ^k it is exactly λ; e-folding takes 1/ln g steps.
    NaN propagates. Raises `ValueError` for fewer than two steps.
    """
    steps = int(amplitudes.shape[0])
    if steps < 2:
        raise ValueError(f"A growth factor needs at least 2 steps. Got: {steps}.")
    xp = namespace(amplitudes)
    centred = np.arange(steps) - (steps - 1) / 2
    weights = like(centred / (centred**2).sum(), amplitudes)
    flat = xp.reshape(xp.log(amplitudes), (steps, -1))
    return xp.reshape(xp.exp(weights @ flat), tuple(amplitudes.shape[1:]))
