"""Values of an ensemble in an area: those of all its grid points, or of each member's mean, maximum or minimum."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.wind import WIND_SPEED, append_wind_speed
from diagnostics.series import Series, read_series
from weather.areas import GridPoints
from weather.initial_state import InitialState
from weather.stores.ensemble import EnsembleStore

Reduction = Literal["none", "mean", "max", "min"]
"""What is made of the values of a member in an area; the mean is weighted by the area of the grid cells."""


@dataclass(frozen=True)
class AreaSampler:
    """Takes the values of fields at grid points, or one value of them that includes the wind speed at each point."""

    points: GridPoints
    variables: tuple[str, ...]
    reduction: Reduction

    def sample(self, fields: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values (member, variable, point) of `fields` (member, variable, latitude, longitude).

        After a reduction there is one point, and the wind speed is the last variable; means are computed in float64.
        """
        values = fields[..., self.points.rows, self.points.columns]
        if self.reduction == "none":
            return values
        with_speed, _ = append_wind_speed(values[..., None], self.variables)
        values = with_speed[..., 0]
        if self.reduction == "mean":
            return np.asarray((values.astype(np.float64) @ self.points.weights)[..., None], np.float32)
        extreme = np.max if self.reduction == "max" else np.min
        return np.asarray(extreme(values, axis=-1, keepdims=True))


def read_area(
    store: EnsembleStore, state: InitialState, points: GridPoints, reduction: Reduction, lead_indices: Sequence[int]
) -> Series:
    """Return the series at grid points, or that of their reduction as one place; else as `read_series`."""
    sampler = AreaSampler(points, store.layout.variables, reduction)
    series = read_series(store, state, sampler, lead_indices)
    if series.values.shape[2] == len(series.variables):
        return series
    return replace(series, variables=(*series.variables, WIND_SPEED))
