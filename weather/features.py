"""Fields that depend on position and date alone: latitude, season, time of day, sunlight."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from weather.grids import Grid

_TROPICAL_YEAR_DAYS = 365.2422
_AXIAL_TILT = np.radians(23.44)

Feature = Callable[[Grid, NDArray[np.datetime64]], NDArray[np.float64]]
"""A feature at some valid times; dimensions (time, latitude, longitude) along which it does not change have size 1."""


def year_angles(valid_times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Return the angle of the season in radians: 0 at the start of the year 2000, 2π a tropical year later."""
    days = (valid_times - np.datetime64("2000-01-01T00", "s")) / np.timedelta64(1, "D")
    return np.asarray(2 * np.pi * (days / _TROPICAL_YEAR_DAYS % 1.0))


def year_angle(valid_time: np.datetime64) -> float:
    """Return `year_angles` of a single time."""
    return float(year_angles(np.asarray(valid_time)))


def _sin_latitude(grid: Grid) -> NDArray[np.float64]:
    return np.asarray(np.sin(np.radians(grid.latitude))[None, :, None])


def _local_time_angles(grid: Grid, valid_times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Return the angle of local mean solar time in radians: 0 at midnight, π at noon, 2π a day later."""
    day_fraction = ((valid_times - valid_times.astype("datetime64[D]")) / np.timedelta64(1, "D"))[:, None, None]
    return np.asarray(2 * np.pi * day_fraction + np.radians(grid.longitude))


def _insolation(grid: Grid, valid_times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Return the cosine of the solar zenith angle, 0 at night; declination to 0.9°, without the equation of time."""
    angles = year_angles(valid_times)[:, None, None]
    declination = -_AXIAL_TILT * np.cos(angles + 2 * np.pi * 10 / _TROPICAL_YEAR_DAYS)
    hour_angle = _local_time_angles(grid, valid_times) - np.pi
    latitude = np.radians(grid.latitude)[:, None]
    cosine = np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    cosine += np.sin(latitude) * np.sin(declination)
    return np.asarray(np.maximum(cosine, 0.0, out=cosine))


FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        "sin_latitude": lambda grid, _: _sin_latitude(grid),
        "season_sin": lambda _, valid_times: np.sin(year_angles(valid_times))[:, None, None],
        "season_cos": lambda _, valid_times: np.cos(year_angles(valid_times))[:, None, None],
        "local_time_sin": lambda grid, valid_times: np.sin(_local_time_angles(grid, valid_times)),
        "local_time_cos": lambda grid, valid_times: np.cos(_local_time_angles(grid, valid_times)),
        "insolation": _insolation,
    }
)


def feature_fields(names: tuple[str, ...], grid: Grid, valid_time: np.datetime64) -> NDArray[np.float32]:
    """Return the named features of one time, float32 of shape (feature, latitude, longitude).

    Raises `KeyError` for a name that is not in `FEATURES`.
    """
    fields: NDArray[np.float32] = feature_series(names, grid, np.array([valid_time]))[0]
    return fields


def feature_series(names: tuple[str, ...], grid: Grid, valid_times: NDArray[np.datetime64]) -> NDArray[np.float32]:
    """Return the named features of some times, float32 of shape (time, feature, latitude, longitude)."""
    fields = np.empty((len(valid_times), len(names), *grid.shape), np.float32)
    for index, name in enumerate(names):
        fields[:, index] = FEATURES[name](grid, valid_times)
    return fields
