"""Read units as data sets spell them, and convert them to the canonical unit of a variable."""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

Scaling = tuple[float, float]
"""Factor and offset of a linear conversion."""

_LENGTHS = {
    1.0: ("m", "meter", "metre"),
    1000.0: ("km", "kilometer", "kilometre"),
    0.01: ("cm", "centimeter", "centimetre"),
    0.001: ("mm", "millimeter", "millimetre"),
    1852.0: ("nmi", "nautical_mile", "nauticalmile"),
    1609.344: ("mi", "mile", "statute_mile"),
    0.3048: ("ft", "foot", "feet"),
}
_DURATIONS = {
    1.0: ("s", "sec", "second"),
    60.0: ("min", "minute"),
    3600.0: ("h", "hr", "hour"),
}
_KNOT = 1852.0 / 3600.0
_SPEEDS = {
    _KNOT: ("kt", "kts", "kn", "kns", "knot", "international_knot"),
    1.0: ("mps", "ms-1"),
    1 / 3.6: ("kph", "kmh", "kmph", "kmh-1"),
    0.44704: ("mph",),
}
_OTHERS: Mapping[str, Mapping[Scaling, tuple[str, ...]]] = MappingProxyType(
    {
        "K": {
            (1.0, 0.0): ("k", "kelvin", "degk", "deg_k", "degree_k", "degrees_k", "degree_kelvin", "°k"),
            (1.0, 273.15): (
                *("c", "degc", "deg_c", "degree_c", "degrees_c", "celsius", "degree_celsius", "degrees_celsius"),
                *("degree celsius", "degrees celsius", "deg c", "°c"),
            ),
            (5 / 9, 459.67 * 5 / 9): ("f", "degf", "deg_f", "fahrenheit", "degree_fahrenheit", "degrees_fahrenheit"),
        },
        "Pa": {
            (1.0, 0.0): ("pa", "pascal", "pascals", "n m-2", "n/m2", "kg m-1 s-2"),
            (100.0, 0.0): ("hpa", "mbar", "mb", "mbars", "millibar", "millibars", "hectopascal", "hectopascals"),
            (1000.0, 0.0): ("kpa", "kilopascal", "kilopascals"),
            (1e5, 0.0): ("bar", "bars"),
        },
    }
)
_USUAL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"m s-1": ("m s-1", "m/s", "knots", "km/h"), "K": ("K", "degC"), "Pa": ("Pa", "hPa")}
)
_NUMBER = re.compile(r"[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?")
_TERM = re.compile(r"([a-z_]+)([+-]?[0-9]+)?")
_SUPERSCRIPTS = str.maketrans("⁻⁺¹²−·", "-+12-.")


def conversion(units: str, canonical: str) -> Scaling | None:
    """Return the factor and offset from `units` to the canonical unit, or None if there is no conversion.

    Speeds are read as UDUNITS and pint write them: products, quotients and powers of lengths and times, in any case.
    """
    spelling = " ".join(units.translate(_SUPERSCRIPTS).casefold().split())
    if canonical == "m s-1":
        factor = _speed_factor(spelling)
        return None if factor is None else (factor, 0.0)
    return next((scaling for scaling, spellings in _OTHERS[canonical].items() if spelling in spellings), None)


def accepted_units(canonical: str) -> tuple[str, ...]:
    """Return the usual spellings of the units that are converted to a canonical unit."""
    return _USUAL[canonical]


def alternative_units(canonical: str) -> list[tuple[Scaling, str]]:
    """Return ((factor, offset) to the canonical unit, unit) of each other usual unit."""
    scalings = [(conversion(units, canonical), units) for units in accepted_units(canonical)]
    return [(scaling, units) for scaling, units in scalings if scaling is not None and scaling != (1.0, 0.0)]


def _speed_factor(spelling: str) -> float | None:
    """Return the factor from a speed in small letters to m s-1, or None for anything else."""
    text = re.sub(r"\s*(\*\*|\^)\s*", "", spelling.replace("{", "").replace("}", "").replace("(", "").replace(")", ""))
    named = _find(_SPEEDS, text)
    if named is not None:
        return named
    text = re.sub(r"\bnautical mile", "nautical_mile", text)
    numerator, *denominators = re.split(r"\s*/\s*|\s+per\s+", text)
    factor, length, duration = 1.0, 0, 0
    for sign, part in ((1, numerator), *((-1, part) for part in denominators)):
        terms = re.split(r"[\s*]+|\.(?![0-9])", part.strip())
        for term in terms:
            powers = _term(term)
            if powers is None:
                return None
            scale, of_length, of_duration = powers
            factor *= scale**sign
            length, duration = length + sign * of_length, duration + sign * of_duration
    return factor if (length, duration) == (1, -1) and math.isfinite(factor) else None


def _term(term: str) -> tuple[float, int, int] | None:
    """Return the scale of a term and its powers of length and time, or None if it has neither."""
    if _NUMBER.fullmatch(term):
        return (float(term), 0, 0) if float(term) else None
    match = _TERM.fullmatch(term)
    if match is None:
        return None
    power = int(match[2] or 1)
    if abs(power) > 1:
        return None
    for table, of_length, of_duration in ((_LENGTHS, 1, 0), (_DURATIONS, 0, 1), (_SPEEDS, 1, -1)):
        scale = _find(table, match[1])
        if scale is not None:
            return scale**power, of_length * power, of_duration * power
    return None


def _find(table: Mapping[float, tuple[str, ...]], name: str) -> float | None:
    """Return the scale of a name in the singular or plural."""
    names = (name, name.removesuffix("s") or name)
    return next((scale for scale, spellings in table.items() if any(name in spellings for name in names)), None)
