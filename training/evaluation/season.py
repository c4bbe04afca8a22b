"""The climatology of a date: the mean of a record over years, with waves of a year and of its first fractions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather.features import year_angles

_WAVES = 3
"""The year and its fractions down to a third; what is faster is weather, of which a record has few years."""


class Season:
    """A fit, by least squares, of fields by their dates: a constant and waves of a year, a half and a third of it."""

    def __init__(self, *shape: int) -> None:
        size = 1 + 2 * _WAVES
        self._gram, self._moments = np.zeros((size, size)), np.zeros((size, *shape))

    def add(self, valid_times: NDArray[Any], fields: NDArray[np.float32]) -> None:
        """Add fields (time, …) to those that are fitted."""
        basis = _basis(valid_times)
        self._gram += basis.T @ basis
        self._moments += np.tensordot(basis.T, fields.astype(np.float64), 1)

    def at(self, valid_times: NDArray[Any]) -> NDArray[np.float64]:
        """Return the fitted fields at some dates, (time, …); of dates that do not determine all waves, the smallest."""
        weights = np.linalg.lstsq(self._gram, self._moments.reshape(len(self._gram), -1))[0]
        fields: NDArray[np.float64] = np.tensordot(_basis(valid_times), weights.reshape(self._moments.shape), 1)
        return fields


def _basis(valid_times: NDArray[Any]) -> NDArray[np.float64]:
    """Return the values of the constant and the waves at some dates, (time, function)."""
    angles = year_angles(valid_times)
    waves = [wave(number * angles) for number in range(1, _WAVES + 1) for wave in (np.cos, np.sin)]
    return np.stack([np.ones_like(angles), *waves], axis=-1)
