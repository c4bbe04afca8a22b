"""Places on a grid: points in well-known text, and values of fields at them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from storage.errors import ConfigurationError
from weather.grids import Grid

Interpolation = Literal["bilinear", "nearest"]

MAX_PLACES = 20
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PAIR = rf"\s*{_NUMBER}\s+{_NUMBER}\s*"
_ITEM = rf"(?:\s*\({_PAIR}\)\s*|{_PAIR})"
_TEXT = re.compile(rf"\s*(?:POINT\s*\({_PAIR}\)|MULTIPOINT\s*\({_ITEM}(?:,{_ITEM})*\))\s*", re.IGNORECASE)
_FORMAT = (
    "`coords` must be POINT(longitude latitude) or MULTIPOINT((longitude latitude), …) in degrees, such as "
    f"POINT(-0.1 51.5): latitudes within ±90, longitudes from -180 to 360, at most {MAX_PLACES} points."
)


@dataclass(frozen=True)
class Place:
    """A point of the globe, degrees."""

    latitude: float
    longitude: float


def parse_places(coords: str) -> tuple[Place, ...]:
    """Return the points of a `POINT` or `MULTIPOINT` in well-known text; raises `ConfigurationError` for other text."""
    error = ConfigurationError(f"{_FORMAT} Got: {coords!r}.", ("coords",))
    if not _TEXT.fullmatch(coords):
        raise error
    numbers = [float(number) for number in re.findall(_NUMBER, coords)]
    places = tuple(Place(*pair) for pair in zip(numbers[1::2], numbers[::2], strict=True))
    is_valid = all(abs(place.latitude) <= 90 and -180 <= place.longitude <= 360 for place in places)
    if not is_valid or len(places) > MAX_PLACES:
        raise error
    return places


@dataclass(frozen=True)
class PlaceSampler:
    """Values of fields at places: the mean of four grid points each, with weights of sum 1.

    `rows`, `columns` and `weights` are (place, corner).
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, grid: Grid, places: Sequence[Place], interpolation: Interpolation) -> "PlaceSampler":
        """Return the sampler of places on a grid.

        `bilinear` is between the two rows and the two columns around a place; beyond the last row of a grid without
        poles, that row is interpolated by longitude alone. `nearest` takes the nearest row and the nearest column; of
        two that are as near, the northern and the western one.
        """
        corners = [_corners(grid, place) for place in places]
        if interpolation == "nearest":
            corners = [_nearest(corner) for corner in corners]
        rows, columns, weights = (np.array(part) for part in zip(*corners, strict=True))
        return cls(rows, columns, weights)

    @classmethod
    def join(cls, samplers: Sequence["PlaceSampler"]) -> "PlaceSampler":
        """Return the sampler of the places of several samplers, in their order."""
        rows, columns, weights = (
            np.concatenate([getattr(sampler, name) for sampler in samplers]) for name in ("rows", "columns", "weights")
        )
        return cls(rows, columns, weights)

    def sample(self, fields: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values (…, place) of `fields` (…, latitude, longitude), computed in float64."""
        values = fields[..., self.rows, self.columns].astype(np.float64)
        return np.asarray((values * self.weights).sum(axis=-1), np.float32)


_Corners = tuple[list[int], list[int], list[float]]
"""Rows, columns and weights of the grid points of a place."""


def _corners(grid: Grid, place: Place) -> _Corners:
    north, south, share = _rows_around(grid, place.latitude)
    west, east, part = _columns_around(grid, place.longitude)
    weights = [(1 - share) * (1 - part), (1 - share) * part, share * (1 - part), share * part]
    return [north, north, south, south], [west, east, west, east], weights


def _rows_around(grid: Grid, latitude: float) -> tuple[int, int, float]:
    """Return the rows north and south of a latitude, and the share of the southern one."""
    ascending = -np.asarray(grid.latitude)
    position = float(np.interp(-latitude, ascending, np.arange(len(ascending))))
    north = min(math.floor(position), len(ascending) - 2)
    return north, north + 1, position - north


def _columns_around(grid: Grid, longitude: float) -> tuple[int, int, float]:
    """Return the columns west and east of a longitude, and the share of the eastern one."""
    number = grid.shape[1]
    position = (longitude - grid.longitude[0]) % 360.0 * number / 360.0
    west = math.floor(position)
    return west % number, (west + 1) % number, position - west


def _nearest(corners: _Corners) -> _Corners:
    rows, columns, weights = corners
    best = max(range(len(weights)), key=weights.__getitem__)
    return [rows[best]] * 4, [columns[best]] * 4, [1.0, 0.0, 0.0, 0.0]
