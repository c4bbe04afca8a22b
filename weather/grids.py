"""Latitude–longitude grids: the canonical form, and area weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

DEGREES_TOLERANCE = 1e-3
"""Degrees by which coordinates of the same points may differ."""
_POLE = 1e-6
_WIDEST_GAP = 1.5
"""Widest distance of two rows, in units of the median distance, that is not called a gap."""
_REGION_LATITUDE = 60.0
"""A grid that ends nearer to the equator than this is called a region."""

GAUSSIAN_LATITUDES = MappingProxyType({"t21": 32, "t31": 48, "t42": 64, "t63": 96, "t85": 128})
"""Number of latitudes of the quadratic Gaussian grid of each spectral truncation."""


@dataclass(frozen=True)
class Grid:
    """A global grid in canonical form: latitudes from north to south, longitudes eastward within [0, 360).

    Latitudes may be regular or Gaussian, with or without the poles; longitudes are evenly spaced and close the
    circle. Both are float64 degrees. Raises `ValueError` for anything else.
    """

    latitude: tuple[float, ...]
    longitude: tuple[float, ...]

    def __post_init__(self) -> None:
        problems = find_grid_problems(self.latitude, self.longitude)
        if not problems and (np.any(np.diff(self.latitude) >= 0) or not _is_canonical_longitude(self.longitude)):
            problems = ["Latitudes must descend from north to south, and longitudes ascend within [0, 360)."]
        if problems:
            raise ValueError(" ".join(problems))

    @classmethod
    def from_coordinates(cls, latitude: ArrayLike, longitude: ArrayLike) -> Self:
        """Return the canonical grid of coordinates in any order and of any longitude origin (degrees)."""
        lat = np.sort(np.asarray(latitude, dtype=np.float64))[::-1]
        lon = np.sort(wrap_longitude(longitude))
        return cls(tuple(lat.tolist()), tuple(lon.tolist()))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of latitudes and of longitudes."""
        return len(self.latitude), len(self.longitude)

    @property
    def has_poles(self) -> bool:
        """Whether the first and last latitudes are the poles themselves."""
        return all(abs(abs(latitude) - 90.0) < DEGREES_TOLERANCE for latitude in (self.latitude[0], self.latitude[-1]))

    @property
    def highest_wavenumber(self) -> int:
        """L, the largest total wavenumber of spherical harmonics that the grid distinguishes.

        A row at a pole sees the zonal mean alone, so that L is rows − 1 without such rows, rows − 2 with them, and at
        most longitudes / 2 − 1.
        """
        at_pole = any(90 - abs(latitude) < _POLE for latitude in (self.latitude[0], self.latitude[-1]))
        return min(self.shape[0] - 1 - int(at_pole), self.shape[1] // 2 - 1)

    @cached_property
    def area_weights(self) -> NDArray[np.float64]:
        """Weight of each latitude, mean 1: sin of the upper minus sin of the lower cell edge.

        Cell edges are midway between latitudes, and at the poles (as in WeatherBench 2).
        """
        lat = np.asarray(self.latitude)
        edges = np.concatenate([[90.0], (lat[:-1] + lat[1:]) / 2, [-90.0]])
        weights = -np.diff(np.sin(np.radians(edges)))
        return np.asarray(weights / weights.mean())

    def matches(self, other: "Grid") -> bool:
        """Return whether both grids have the same points, to a thousandth of a degree."""
        return self.shape == other.shape and bool(
            np.allclose(self.latitude, other.latitude, rtol=0, atol=DEGREES_TOLERANCE)
            and np.allclose(self.longitude, other.longitude, rtol=0, atol=DEGREES_TOLERANCE)
        )

    def __str__(self) -> str:
        kind = "with poles" if self.has_poles else "without poles"
        return f"{self.shape[0]} × {self.shape[1]} ({kind})"


def spatial_attributes(latitude: Sequence[float], longitude: Sequence[float]) -> dict[str, Any]:
    """Return the attributes from which readers of Zarr, such as map layers, know where the values of a grid are.

    They are those of the conventions `proj` and `spatial` (https://github.com/zarr-conventions, version 1), but for the
    list `zarr_conventions`, whose objects a NetCDF file cannot hold. Values are at points ("node"). Latitudes that are
    not evenly spaced have no transform.
    """
    north, south, west, east = latitude[0], latitude[-1], longitude[0], longitude[-1]
    rows, columns = len(latitude), len(longitude)
    attributes: dict[str, Any] = {
        "proj:code": "EPSG:4326",
        "spatial:dimensions": ["latitude", "longitude"],
        "spatial:shape": [rows, columns],
        "spatial:bbox": [west, south, east, north],
        "spatial:registration": "node",
    }
    if np.ptp(np.diff(latitude)) < DEGREES_TOLERANCE:
        steps = (east - west) / (columns - 1), (south - north) / (rows - 1)
        attributes["spatial:transform_type"] = "affine"
        attributes["spatial:transform"] = [steps[0], 0.0, west, 0.0, steps[1], north]
    return attributes


def gaussian_grid(name: str) -> Grid:
    """Return the Gaussian grid of a spectral truncation in `GAUSSIAN_LATITUDES`, such as the 48 × 96 points of `t31`.

    Its latitudes are the roots of the Legendre polynomial of their number; it has twice as many longitudes, from 0.
    """
    num_lat = GAUSSIAN_LATITUDES[name]
    roots, _ = np.polynomial.legendre.leggauss(num_lat)
    longitudes = np.arange(2 * num_lat) * 360.0 / (2 * num_lat)
    return Grid.from_coordinates(np.degrees(np.arcsin(roots)), longitudes)


def wrap_longitude(longitude: ArrayLike) -> NDArray[np.float64]:
    """Return longitudes in [0, 360), degrees; values within rounding error of 360 become 0."""
    east = np.mod(np.asarray(longitude, dtype=np.float64), 360.0)
    return np.where(east > 360.0 - DEGREES_TOLERANCE, 0.0, east)


def find_grid_problems(latitude: ArrayLike, longitude: ArrayLike) -> list[str]:
    """Return a sentence for each reason why coordinates do not form a global latitude–longitude grid."""
    lat = np.sort(np.asarray(latitude, dtype=np.float64), axis=None)
    lon = np.asarray(longitude, dtype=np.float64)
    problems = []
    if np.ndim(latitude) != 1 or lat.size < 4 or not np.all(np.isfinite(lat)) or np.any(np.diff(lat) <= 0):
        return [f"Latitudes must be at least 4 different finite numbers in one dimension. Got: {_describe(latitude)}."]
    if lon.ndim != 1 or lon.size < 4 or not np.all(np.isfinite(lon)):
        return [f"Longitudes must be at least 4 finite numbers in one dimension. Got: {_describe(longitude)}."]
    problem = _coverage_problem(lat, lon)
    if problem:
        problems.append(problem)
    ring = np.sort(np.mod(lon, 360.0))
    gaps = np.diff(np.concatenate([ring, ring[:1] + 360.0]))
    if not problems and not np.allclose(gaps, 360.0 / lon.size, rtol=0, atol=10 * DEGREES_TOLERANCE):
        problems.append(
            f"Longitudes must be evenly spaced around the globe. Got: {lon.size} from {lon.min():g} to {lon.max():g}."
        )
    return problems


def _coverage_problem(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> str | None:
    """Return which latitudes are missing: all but a region, a band, or rows at a pole; None if there are no such.

    `lat` ascends. Rows may be regular or Gaussian; the row at a pole may be there or not.
    """
    gaps = np.diff(lat)
    spacing = float(np.median(gaps))
    if lat[0] < -90 - DEGREES_TOLERANCE or lat[-1] > 90 + DEGREES_TOLERANCE:
        return f"Latitudes must be within [-90, 90]. Got: {lat[0]:g} to {lat[-1]:g}."
    widest = int(np.argmax(gaps))
    if gaps[widest] > _WIDEST_GAP * spacing:
        return (
            f"The latitudes between {lat[widest]:g} and {lat[widest + 1]:g} are missing; elsewhere, rows are "
            f"{spacing:g} degrees apart."
        )
    is_short = (lat[0] > -90 + 1.01 * gaps.max(), lat[-1] < 90 - 1.01 * gaps.max())
    if any(is_short) and lat[0] < -_REGION_LATITUDE and lat[-1] > _REGION_LATITUDE:
        south, north = is_short
        poles = "both poles" if south and north else "the south pole" if south else "the north pole"
        return (
            f"Rows towards {poles} are missing: latitudes go from {lat[0]:g} to {lat[-1]:g}, {spacing:g} degrees apart."
        )
    if any(is_short):
        return (
            f"The grid must be global. Got: latitudes {lat[0]:g} to {lat[-1]:g} and longitudes "
            f"{lon.min():g} to {lon.max():g}, a region."
        )
    return None


def _describe(values: ArrayLike) -> str:
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    return f"shape {array.shape}, {finite.size} finite values, {np.unique(finite).size} of them different"


def _is_canonical_longitude(longitude: tuple[float, ...]) -> bool:
    return bool(longitude[0] >= 0 and longitude[-1] < 360 and np.all(np.diff(longitude) > 0))
