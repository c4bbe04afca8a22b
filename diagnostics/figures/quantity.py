"""The quantity that a picture shows: its fields, computed from those of a forecast, and its unit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnostics.figures.style import format_units
from diagnostics.scores.wind import SPEED_UNITS, WIND_SPEED, SpeedUnits, append_wind_speed
from storage.errors import ConfigurationError
from weather.variables import KNOWN


@dataclass(frozen=True)
class Quantity:
    """Name and unit of the quantity that a picture shows; `is_magnitude` says that it cannot be negative."""

    label: str
    units: str
    is_magnitude: bool = True

    def axis_label(self) -> str:
        """Return name and unit, such as `10 m wind speed (m s⁻¹)`."""
        return f"{self.label} ({format_units(self.units)})"


def select_quantity(
    fields: NDArray[np.float32], variables: Sequence[str], units: SpeedUnits = "ms"
) -> tuple[Quantity, NDArray[np.float32]]:
    """Return the quantity to draw and its fields (…, latitude, longitude): 10 m wind speed, else the first variable.

    `fields` is (…, variable, latitude, longitude). Wind is converted from m s-1 to `units`. Raises `ConfigurationError`
    for `units` other than `ms` if the quantity is not wind.
    """
    extended, names = append_wind_speed(fields, variables)
    if WIND_SPEED in names:
        quantity, values = Quantity("10 m wind speed", "m s-1"), extended[..., -1, :, :]
    else:
        first = KNOWN[names[0]]
        quantity, values = Quantity(first.long_name, first.units, is_magnitude=False), extended[..., 0, :, :]
    if units == "ms":
        return quantity, values
    if quantity.units != "m s-1":
        raise ConfigurationError(
            f"`units` must be ms, unless wind is drawn. Got: {units}, for {quantity.label} in {quantity.units}.",
            ("units",),
        )
    symbol, factor = SPEED_UNITS[units]
    return Quantity(quantity.label, symbol, quantity.is_magnitude), values * np.float32(factor)
