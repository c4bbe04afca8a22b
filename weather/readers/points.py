"""Where the points of a field are, and how its values are brought to the canonical grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weather.grids import Grid, find_grid_problems, wrap_longitude

_TOLERANCE = 1e-3


class PointsError(ValueError):
    """The points of a field do not form a global latitude–longitude grid; the message is a sentence."""


@dataclass(frozen=True, eq=False)
class Points:
    """Order of the rows and columns of a field that brings it to the canonical `grid`.

    `repeats` says that the last column of the field is the first one again, as cyclic data sets have it.
    """

    grid: Grid
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    repeats: bool = False

    @classmethod
    def of(cls, latitude: ArrayLike, longitude: ArrayLike) -> "Points":
        """Return the points of one-dimensional coordinates in degrees, in any order and of any origin.

        Raises `PointsError` if they are no global grid: a region, a gap in latitude, uneven longitudes.
        """
        lat, lon = np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)
        repeats = lon.ndim == 1 and lon.size > 4 and abs(abs(lon[-1] - lon[0]) - 360.0) < _TOLERANCE
        kept = lon[:-1] if repeats else lon
        problems = find_grid_problems(lat, kept)
        if problems:
            raise PointsError(" ".join(problems))
        rows, columns = np.argsort(lat)[::-1], np.argsort(wrap_longitude(kept))
        return cls(Grid.from_coordinates(lat, kept), rows, columns, repeats)

    def arrange(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return `values` (…, row, column) in canonical order; raises `PointsError` if a repeated column differs."""
        if self.repeats:
            first, last = values[..., 0], values[..., -1]
            if not np.allclose(first, last, rtol=0, atol=1e-3 * max(float(np.nanstd(values)), 1e-6), equal_nan=True):
                raise PointsError("The first and the last meridian are the same, but their values differ.")
        rows, columns = _as_slice(self.rows), _as_slice(self.columns)
        if isinstance(rows, slice) and isinstance(columns, slice):
            return values[..., rows, columns]
        return values[..., self.rows[:, None], self.columns]


def _as_slice(indices: NDArray[np.int64]) -> slice | None:
    """Return indices that ascend or descend by one as a slice, None for others: slicing copies nothing."""
    if np.all(np.diff(indices) == 1):
        return slice(int(indices[0]), int(indices[-1]) + 1)
    if np.all(np.diff(indices) == -1) and indices[-1] == 0:
        return slice(int(indices[0]), None, -1)
    return None
