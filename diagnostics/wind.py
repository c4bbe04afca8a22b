"""Wind speed and direction from components."""

import math

from diagnostics.arrays import Array, namespace


def wind_speed(u: Array, v: Array) -> Array:
    """Return √(u² + v²), in the unit of the components."""
    xp = namespace(u, v)
    return xp.hypot(u, v)


def wind_direction(u: Array, v: Array) -> Array:
    """Return where the wind comes from, degrees clockwise from north in [0, 360): 0 for a wind from the north."""
    xp = namespace(u, v)
    degrees = xp.atan2(-u, -v) * (180 / math.pi)
    return xp.where(degrees < 0, degrees + 360, degrees)
