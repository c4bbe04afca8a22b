"""Fields that depend on position and date alone: latitude, season, sunlight."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from weather.grids import Grid

_TROPICAL_YEAR_DAYS = 365.2422
_AXIAL_TILT = np.radians(23.44)

Feature = Callable[[Grid, np.datetime64], NDArray[np.float64]]


def year_angles(valid_times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Return the angle of the season in radians: 0 at the start of the year 2000, 2π a tropical year later."""
    days = (valid_times - np.datetime64("2000-01-01T00", "s")) / np.timedelta64(1, "D")
    return np.asarray(2 * np.pi * (days / _TROPICAL_YEAR_DAYS % 1.0))


def year_angle(valid_time: np.datetime64) -> float:
    """Return `year_angles` of a single time."""
    return float(year_angles(np.asarray(valid_time)))


def _full(grid: Grid, value: float) -> NDArray[np.float64]:
    return np.full(grid.shape, value)


def _sin_latitude(grid: Grid) -> NDArray[np.float64]:
    return np.repeat(np.sin(np.radians(grid.latitude))[:, None], grid.shape[1], axis=1)


def _insolation(grid: Grid, valid_time: np.datetime64) -> NDArray[np.float64]:
    """Return the cosine of the solar zenith angle, 0 at night; declination to 0.9°, without the equation of time."""
    declination = -_AXIAL_TILT * np.cos(year_angle(valid_time) + 2 * np.pi * 10 / _TROPICAL_YEAR_DAYS)
    day_fraction = (valid_time - valid_time.astype("datetime64[D]")) / np.timedelta64(1, "D")
    hour_angle = 2 * np.pi * (day_fraction - 0.5) + np.radians(grid.longitude)
    latitude = np.radians(grid.latitude)[:, None]
    cosine = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    return np.asarray(np.maximum(cosine, 0.0))


FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        "sin_latitude": lambda grid, _: _sin_latitude(grid),
        "season_sin": lambda grid, valid_time: _full(grid, np.sin(year_angle(valid_time))),
        "season_cos": lambda grid, valid_time: _full(grid, np.cos(year_angle(valid_time))),
        "insolation": _insolation,
    }
)


def feature_fields(names: tuple[str, ...], grid: Grid, valid_time: np.datetime64) -> NDArray[np.float32]:
    """Return the named features, float32 of shape (feature, latitude, longitude).

    Raises `KeyError` for a name that is not in `FEATURES`.
    """
    fields = [FEATURES[name](grid, valid_time) for name in names]
    return np.stack(fields).astype(np.float32) if fields else np.zeros((0, *grid.shape), np.float32)
