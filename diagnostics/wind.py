"""Wind speed and direction from components."""

import math
from collections.abc import Sequence

from diagnostics.arrays import Array, namespace
from weather.variables import WIND_SPEED_10M

WIND_SPEED = WIND_SPEED_10M.name


def wind_speed(u: Array, v: Array) -> Array:
    """Return √(u² + v²), in the unit of the components."""
    xp = namespace(u, v)
    return xp.hypot(u, v)


def append_wind_speed(fields: Array, variables: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """Return `fields` (…, variable, latitude, longitude) with the speed of their 10 m wind behind, and all names.

    Fields without both components are returned as they are.
    """
    if not {"u10", "v10"} <= set(variables):
        return fields, tuple(variables)
    u, v = (fields[..., variables.index(name), :, :] for name in ("u10", "v10"))
    xp = namespace(fields)
    return xp.concat([fields, wind_speed(u, v)[..., None, :, :]], axis=-3), (*variables, WIND_SPEED)


def wind_direction(u: Array, v: Array) -> Array:
    """Return where the wind comes from, degrees clockwise from north in [0, 360): 0 for a wind from the north."""
    xp = namespace(u, v)
    degrees = xp.atan2(-u, -v) * (180 / math.pi)
    return xp.where(degrees < 0, degrees + 360, degrees)
