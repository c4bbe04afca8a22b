"""Grids of flow time on which a solver steps: pure functions to ascending float64 numbers from 0 to 1."""

import numpy as np
from numpy.typing import NDArray

from storage.errors import ConfigurationError


def power_grid(num_steps: int, power: float = 1.0) -> NDArray[np.float64]:
    """Return `num_steps` + 1 flow times 1 − (1 − i/N)^p, finer towards the data for p > 1; p = 1 is uniform.

    Raises `ConfigurationError` for fewer than one step or a power that is not positive. Source: docs/method.md §5.
    """
    if num_steps < 1:
        raise ConfigurationError(f"`num_steps` must be at least 1. Got: {num_steps}.")
    if not power > 0:
        raise ConfigurationError(f"`power` of the time grid must be positive. Got: {power}.")
    return np.asarray(1.0 - (1.0 - np.arange(num_steps + 1) / num_steps) ** power)
