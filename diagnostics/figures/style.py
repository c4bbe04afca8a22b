"""Style shared by all pictures: fonts and colours, and the text of times, places, counts and units."""

import io
import re
from typing import Any

import numpy as np
from matplotlib.figure import Figure

STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
"""Settings of matplotlib, for `matplotlib.style.context`."""

BLUE, PURPLE, GREY, OCHRE = "#31688e", "#440154", "#888888", "#c08a1e"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_png(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file."""
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def format_time(time: np.datetime64) -> str:
    """Return a time to the hour, such as `2018-09-15 00 UTC`."""
    return f"{np.datetime_as_string(time, unit='h').replace('T', ' ')} UTC"


def format_place(latitude: float, longitude: float) -> str:
    """Return a place to the hundredth of a degree, such as `33.75°N, 78.75°W`."""
    return f"{format_latitude(latitude)}, {format_longitude(longitude)}"


def format_latitude(latitude: float) -> str:
    """Return a latitude with its hemisphere, such as `33.75°N`; the equator has none."""
    north = round(latitude, 2)
    return f"{abs(north):g}°{'N' if north > 0 else 'S' if north < 0 else ''}"


def format_longitude(longitude: float) -> str:
    """Return any longitude with its hemisphere, such as `78.75°W`; 0° and 180° have none."""
    east = round((longitude + 180) % 360 - 180, 2)
    return f"{abs(east):g}°{'' if abs(east) in (0, 180) else 'E' if east > 0 else 'W'}"


def format_members(count: int, total: int | None = None) -> str:
    """Return a count of members, such as `1 member`, `16 members` or `14 of 16 members`."""
    among = "" if total is None or total == count else f" of {total}"
    return f"{count}{among} member{'' if (total or count) == 1 else 's'}"


def format_units(units: str) -> str:
    """Return CF units with their exponents raised, such as `m s⁻¹` for `m s-1`."""
    return re.sub(r"(?<=[A-Za-z])-?\d+", lambda exponent: exponent[0].translate(_SUPERSCRIPTS), units)
