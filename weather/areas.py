"""Areas of the globe: polygons in well-known text, and the grid points in a polygon or a box."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from storage.errors import ConfigurationError
from weather.grids import Grid
from weather.region import Region
from weather.rings import Ring, find_crossing, find_intervals, is_inside

MAX_VERTICES = 500
_RING = r"\([^()]*\)"
_POLYGON = rf"\(\s*{_RING}(?:\s*,\s*{_RING})*\s*\)"
_TEXT = re.compile(
    rf"\s*(?:POLYGON\s*{_POLYGON}|MULTIPOLYGON\s*\(\s*{_POLYGON}(?:\s*,\s*{_POLYGON})*\s*\))\s*", re.IGNORECASE
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_FORMAT = (
    "`coords` must be POLYGON((longitude latitude, …)) or MULTIPOLYGON(((longitude latitude, …)), …) in degrees, such "
    "as POLYGON((5 45, 15 45, 15 55, 5 45)): latitudes within ±90, longitudes from -180 to 360, at most "
    f"{MAX_VERTICES} points."
)
_TOLERANCE = 1e-6
"""Degrees by which a grid point may be outside an area that has it on its boundary."""

Axis = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Coordinates, and an index of one of them for each point."""


@dataclass(frozen=True)
class Area:
    """Polygons whose rings are (longitude, latitude) in degrees, straight in these; the first ring is the outer one.

    The further rings of a polygon are holes. Points on a boundary, also that of a hole, belong to the area.
    """

    polygons: tuple[tuple[Ring, ...], ...]

    @classmethod
    def parse(cls, coords: str) -> "Area":
        """Return the area of a `POLYGON` or `MULTIPOLYGON` in well-known text.

        A polygon across 180° has longitudes above 180. Raises `ConfigurationError` for other text, and for a polygon
        that is not closed, crosses itself, has a hole outside or an edge of which it is not clear where it goes.
        """
        if not _TEXT.fullmatch(coords):
            raise _wrong(f"{_FORMAT} Got: {_short(coords)}.")
        polygons = tuple(
            tuple(_parse_ring(ring) for ring in re.findall(_RING, polygon)) for polygon in re.findall(_POLYGON, coords)
        )
        if sum(len(ring) for rings in polygons for ring in rings) > MAX_VERTICES:
            raise _wrong(f"{_FORMAT} Got: {sum(len(ring) for rings in polygons for ring in rings)} points.")
        for rings in polygons:
            _check_polygon(rings)
        return cls(polygons)

    @property
    def west(self) -> float:
        """The least longitude of a vertex."""
        return min(longitude for rings in self.polygons for ring in rings for longitude, _ in ring)

    def mask(self, grid: Grid) -> NDArray[np.bool_]:
        """Return which points of a grid are in the area, (latitude, longitude)."""
        longitude, found = np.array(grid.longitude), np.zeros(grid.shape, bool)
        for row, latitude in enumerate(grid.latitude):
            for rings in self.polygons:
                for west, east in find_intervals(rings, latitude, _TOLERANCE):
                    eastward = (longitude - west + _TOLERANCE) % 360
                    found[row] |= eastward <= east - west + 2 * _TOLERANCE
        return found


@dataclass(frozen=True)
class GridPoints:
    """Points of a grid from north to south and west to east: indices, degrees, and the share of each in their area.

    Longitudes ascend in a row without a jump at 180° or 360°.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def inside(cls, area: Area | Region, grid: Grid) -> "GridPoints":
        """Return the points of a grid in an area; raise `ConfigurationError` if there are none.

        The weight of a point is the area of its grid cell.
        """
        latitudes, longitudes = np.array(grid.latitude), np.array(grid.longitude)
        if isinstance(area, Region):
            inside, east = area.columns_inside(longitudes)
            shape = area.rows_inside(latitudes)[:, None], inside[None]
            rows, columns = (part.reshape(-1) for part in np.broadcast_arrays(*shape))
            longitude = np.tile(east, shape[0].size)
        else:
            rows, columns = np.nonzero(area.mask(grid))
            east = longitudes[columns]
            longitude = east + 360 * np.ceil((area.west - _TOLERANCE - east) / 360)
            order = np.lexsort((longitude, rows))
            rows, columns, longitude = rows[order], columns[order], longitude[order]
        if not len(rows):
            name = "bbox" if isinstance(area, Region) else "coords"
            raise ConfigurationError(
                f"`{name}` must contain at least one grid point: they are {grid.latitude[0] - grid.latitude[1]:g}° "
                "apart. Enlarge it, or request a position.",
                (name,),
            )
        weights = grid.area_weights[rows]
        return cls(rows, columns, latitudes[rows], longitude, weights / weights.sum())

    @cached_property
    def axes(self) -> tuple[Axis, Axis]:
        """Latitudes from north to south and longitudes from west to east of all points, and the index of each in them.

        Together these make the smallest grid that has all points.
        """
        southward, rows = np.unique(-self.latitude, return_inverse=True)
        eastward, columns = np.unique(self.longitude, return_inverse=True)
        return (-southward, rows), (eastward, columns)


def _parse_ring(text: str) -> Ring:
    points = [point.split() for point in text[1:-1].split(",")]
    if not all(len(point) == 2 and all(map(_NUMBER.fullmatch, point)) for point in points):
        raise _wrong(f"{_FORMAT} Got: {_short(text)}.")
    ring = tuple((float(longitude), float(latitude)) for longitude, latitude in points)
    if not all(-180 <= longitude <= 360 and abs(latitude) <= 90 for longitude, latitude in ring):
        raise _wrong(f"{_FORMAT} Got: {_short(text)}.")
    return ring


def _check_polygon(rings: Sequence[Ring]) -> None:
    """Raise `ConfigurationError` unless it is clear what is inside a polygon."""
    for ring in rings:
        if len(ring) < 4 or ring[0] != ring[-1]:
            raise _wrong(
                "Each ring of `coords` must have at least four points, of which the last is the first again. Got: "
                f"{len(ring)} points from {_format(ring[0])} to {_format(ring[-1])}."
            )
        for first, last in pairwise(ring):
            if 180 < abs(last[0] - first[0]) < 360:
                raise _wrong(
                    "An edge of `coords` must be at most 180° long, or all around the globe. Write longitudes across "
                    "180° above 180, such as 190 instead of -170, or add a point between. Got: an edge from "
                    f"{_format(first)} to {_format(last)}."
                )
    longitudes = [longitude for longitude, _ in rings[0]]
    if max(longitudes) - min(longitudes) > 360:
        raise _wrong(
            f"A polygon of `coords` must be at most 360° wide. Got: from {min(longitudes):g} to {max(longitudes):g}."
        )
    if (crossing := find_crossing(rings)) is not None:
        edges = " and ".join(f"from {_format(first)} to {_format(last)}" for first, last in crossing)
        raise _wrong(f"The edges of a polygon of `coords` must not cross. Got: the edges {edges}.")
    for hole in rings[1:]:
        for point in hole:
            if not is_inside(rings[0], point):
                raise _wrong(f"A hole of `coords` must be inside its polygon. Got: {_format(point)} in a hole.")


def _wrong(message: str) -> ConfigurationError:
    return ConfigurationError(message, ("coords",))


def _format(point: tuple[float, float]) -> str:
    return f"({point[0]:g} {point[1]:g})"


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:97]}…")
