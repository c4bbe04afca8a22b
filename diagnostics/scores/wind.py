"""Wind speed and direction from the components u (eastward) and v (northward)."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from diagnostics.scores.arrays import Array, namespace
from weather.variables import WIND_SPEED_10M

WIND_SPEED = WIND_SPEED_10M.name

SpeedUnits = Literal["ms", "kn", "kmh"]
"""Units of wind: metres per second, knots (one nautical mile, 1852 m, per hour), kilometres per hour."""

SPEED_UNITS: Mapping[SpeedUnits, tuple[str, float]] = MappingProxyType(
    {"ms": ("m s-1", 1.0), "kn": ("kn", 3600 / 1852), "kmh": ("km/h", 3.6)}
)
"""Symbol of each unit, and the number of it in 1 m s-1."""


def wind_speed(u: Array, v: Array) -> Array:
    """Return √(u² + v²), in the unit of the components."""
    xp = namespace(u, v)
    return xp.hypot(u, v)


def append_wind_speed(fields: Array, variables: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """Return `fields` (…, variable, latitude, longitude) with the 10 m wind speed appended, and the names of all.

    Fields that lack `u10` or `v10` are returned unchanged.
    """
    if not {"u10", "v10"} <= set(variables):
        return fields, tuple(variables)
    u, v = (fields[..., variables.index(name), :, :] for name in ("u10", "v10"))
    xp = namespace(fields)
    return xp.concat([fields, wind_speed(u, v)[..., None, :, :]], axis=-3), (*variables, WIND_SPEED)


def wind_direction(u: Array, v: Array) -> Array:
    """Return the direction that the wind blows from, degrees clockwise from north in [0, 360): 90 is an easterly."""
    xp = namespace(u, v)
    degrees = xp.atan2(-u, -v) * (180 / math.pi)
    return xp.where(degrees < 0, degrees + 360, degrees)
