"""The factor on the standard deviation of a noise: one number for all variables, or one for each."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

HIGHEST_SCALE = 10.0


def read_scale(value: object) -> float | dict[str, float]:
    """Return a scale from JSON or from text: a number, or numbers by variable; raises `ValueError` for any other."""
    if not isinstance(value, Mapping):
        return _read_number(value, value)
    if not value or not all(isinstance(name, str) for name in value):
        raise ValueError(_expect(value))
    return {name: _read_number(number, value) for name, number in value.items()}


Scale = Annotated[float | dict[str, float], BeforeValidator(read_scale)]
"""A number above 0 and at most 10, or one for each variable by name."""


def check_scale(scale: float | Mapping[str, float], variables: Sequence[str]) -> None:
    """Raise `ValueError` unless a scale is one number, or has one for each of the variables and no other."""
    if isinstance(scale, Mapping) and set(scale) != set(variables):
        raise ValueError(
            f"`noise.scale` must be one number, or have one for each of the variables {', '.join(variables)} and for "
            f"no other. Got: {', '.join(scale)}"
        )


def scale_of(scale: float | Mapping[str, float], variable: str) -> float:
    """Return the factor of a variable."""
    return scale[variable] if isinstance(scale, Mapping) else scale


def describe_scale(scale: float | Mapping[str, float]) -> str:
    """Return a scale in a few words, such as `1.05` or `1.03 (u10), 1.01 (v10)`."""
    if isinstance(scale, Mapping):
        return ", ".join(f"{factor:g} ({name})" for name, factor in scale.items())
    return f"{scale:g}"


def _read_number(number: Any, value: object) -> float:
    try:
        read = float("nan" if isinstance(number, bool) else number)
    except (TypeError, ValueError):
        raise ValueError(_expect(value)) from None
    if not 0 < read <= HIGHEST_SCALE:
        raise ValueError(_expect(value))
    return read


def _expect(value: object) -> str:
    return (
        f"it must be a number above 0 and at most {HIGHEST_SCALE:g}, or one for each variable, such as "
        f'{{"u10": 1.03, "v10": 1.01}}. Got: {value!r:.200}'
    )
