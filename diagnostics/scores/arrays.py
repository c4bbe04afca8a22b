"""Array functions that accept numpy arrays and torch tensors alike, without importing torch."""

from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

Array = Any
"""A numpy array or a torch tensor; a result has the kind, precision and device of its arguments."""


def namespace(*arrays: Array) -> Any:
    """Return the array-API namespace of `arrays`: the functions of numpy or of torch."""
    return array_api_compat.array_namespace(*arrays)


def like(values: NDArray[Any], array: Array) -> Array:
    """Return numpy `values` converted to the kind, device and precision of `array`."""
    xp = namespace(array)
    return xp.astype(xp.asarray(values, device=array_api_compat.device(array)), array.dtype, copy=False)


def to_numpy(array: Array) -> NDArray[Any]:
    """Return `array` as numpy, copied to the host if it is on another device."""
    return np.asarray(array_api_compat.to_device(array, "cpu"))


def area_mean(field: Array, area_weights: Sequence[float] | NDArray[np.float64]) -> Array:
    """Return the mean over the last two axes, (…, latitude, longitude), weighted by `area_weights` (latitude)."""
    xp = namespace(field)
    weights = like(np.asarray(area_weights) / np.mean(area_weights), field)
    return xp.mean(field * weights[:, None], axis=(-2, -1))
