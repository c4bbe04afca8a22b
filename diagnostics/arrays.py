"""Arrays of numpy or torch, handled alike; torch is loaded only by whoever passes its tensors."""

from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

Array = Any
"""A numpy array or a torch tensor; results are of the same kind, type and device."""


def namespace(*arrays: Array) -> Any:
    """Return the array functions that fit `arrays`."""
    return array_api_compat.array_namespace(*arrays)


def like(values: NDArray[Any], array: Array) -> Array:
    """Return numpy `values` as the kind of `array`, on its device and with its precision."""
    xp = namespace(array)
    return xp.astype(xp.asarray(values, device=array_api_compat.device(array)), array.dtype, copy=False)


def to_numpy(array: Array) -> NDArray[Any]:
    """Return `array` as numpy, copied to the host where it is elsewhere."""
    return np.asarray(array_api_compat.to_device(array, "cpu"))


def area_mean(field: Array, area_weights: Sequence[float] | NDArray[np.float64]) -> Array:
    """Return the mean over the two last axes, (…, latitude, longitude), weighted by `area_weights` (latitude)."""
    xp = namespace(field)
    weights = like(np.asarray(area_weights) / np.mean(area_weights), field)
    return xp.mean(field * weights[:, None], axis=(-2, -1))
