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


def like(values: NDArray[Any], array: Array, dtype: Any = None) -> Array:
    """Return numpy `values` converted to the kind and device of `array`, and to `dtype`, by default its precision.

    On a GPU small values stay for the next call, because each copy there would wait for what the GPU is computing; the
    result must not be changed.
    """
    device, dtype = array_api_compat.device(array), array.dtype if dtype is None else dtype
    if str(device) == "cpu" or values.nbytes > _MAX_CONSTANT_BYTES or array.requires_grad:
        return _convert(values, namespace(array), device, dtype)
    key = (values.tobytes(), values.shape, values.dtype.str, str(device), dtype)
    constant = _constants.get(key)
    if constant is None:
        constant = _convert(values, namespace(array), device, dtype)
        if len(_constants) < _MAX_CONSTANTS:
            _constants[key] = constant
    return constant


def _convert(values: NDArray[Any], xp: Any, device: Any, dtype: Any) -> Array:
    return xp.astype(xp.asarray(values, device=device), dtype, copy=False)


_MAX_CONSTANT_BYTES, _MAX_CONSTANTS = 2**16, 256
_constants: dict[Any, Array] = {}
"""Constants on GPUs; none is ever removed, because another stream may still be reading it."""


def to_numpy(array: Array) -> NDArray[Any]:
    """Return `array` as numpy, copied to the host if it is on another device."""
    return np.asarray(array_api_compat.to_device(array, "cpu"))


def area_mean(field: Array, area_weights: Sequence[float] | NDArray[np.float64]) -> Array:
    """Return the mean over the last two axes, (…, latitude, longitude), weighted by `area_weights` (latitude)."""
    xp = namespace(field)
    weights = like(np.asarray(area_weights) / np.mean(area_weights), field)
    return xp.mean(field * weights[:, None], axis=(-2, -1))
