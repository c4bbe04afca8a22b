"""Parameters of time series, that is quantities that a forecast has: variables, and speed and direction of the wind."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from diagnostics.scores.wind import SPEED_UNITS, WIND_SPEED, SpeedUnits
from storage.errors import ConfigurationError
from weather.stores.summary_layout import WIND_DIRECTION
from weather.stores.summary_request import Threshold
from weather.variables import KNOWN, WIND_SPEED_10M, Variable

_MAX_THRESHOLDS = 20
_THRESHOLD = re.compile(r"\s*([a-z0-9_]+)\s*([<>])\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")


@dataclass(frozen=True)
class Parameter:
    """A quantity of a series: name, unit of its values, what it is, and `factor` from its canonical unit."""

    name: str
    units: str
    long_name: str
    standard_name: str
    factor: float = 1.0

    @property
    def is_direction(self) -> bool:
        """Whether the values are directions in degrees, which have no mean of their own."""
        return self.name == WIND_DIRECTION


def find_parameters(names: Sequence[str], variables: Sequence[str], units: SpeedUnits) -> tuple[Parameter, ...]:
    """Return the parameters of some names, by default all that a forecast of `variables` has, with their units.

    Raises `ConfigurationError` for a name that it does not have, and for units of speed if no parameter is one.
    """
    has_wind = {"u10", "v10"} <= set(variables)
    known = (*variables, *((WIND_SPEED, WIND_DIRECTION) if has_wind else ()))
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"`parameter-name` may have {', '.join(known)}. Got: {name!r}.", ("parameter-name",)
            )
    chosen = [_describe(name, units) for name in dict.fromkeys(names or known)]
    if units != "ms" and all(parameter.units != SPEED_UNITS[units][0] for parameter in chosen):
        raise ConfigurationError(
            f"`units` must be ms, unless a wind speed is among the parameters. Got: {units}.", ("units",)
        )
    return tuple(chosen)


def parse_thresholds(text: str, parameters: Sequence[Parameter]) -> tuple[Threshold, ...]:
    """Return the events in a text such as `wind_speed_10m>17.2,v10<-5`; raises `ConfigurationError` for other text.

    They may be of the `parameters`, but for directions.
    """
    known = [parameter.name for parameter in parameters if not parameter.is_direction]
    items = [item for item in text.split(",") if item.strip()]
    found = [_THRESHOLD.fullmatch(item) for item in items]
    if len(items) > _MAX_THRESHOLDS or any(
        match is None or match[1] not in known or not math.isfinite(float(match[3])) for match in found
    ):
        raise ConfigurationError(
            f"`exceedance` must be a list of at most {_MAX_THRESHOLDS} events such as wind_speed_10m>17.2,v10<-5, of "
            f"{', '.join(known) or 'no parameter of the request'}. Got: {text!r}.",
            ("exceedance",),
        )
    return tuple(
        Threshold.model_validate({"variable": match[1], "op": match[2], "value": float(match[3])})
        for match in found
        if match is not None
    )


def _describe(name: str, units: SpeedUnits) -> Parameter:
    if name == WIND_DIRECTION:
        return Parameter(name, "degree", "direction that the 10 metre wind comes from", "wind_from_direction")
    variable: Variable = WIND_SPEED_10M if name == WIND_SPEED else KNOWN[name]
    symbol, factor = SPEED_UNITS[units] if variable.units == "m s-1" else (variable.units, 1.0)
    return Parameter(name, symbol, variable.long_name, variable.standard_name, factor)
