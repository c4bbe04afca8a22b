"""The query parameters that all routes for values by valid time have, as OGC API – EDR names them."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Query

from diagnostics.scores.wind import SpeedUnits
from service.faults import Faults
from service.series_formats import SeriesFormat
from storage.errors import ConfigurationError
from weather.times import Interval

_MAX_QUANTILES = 20
_QUANTILES = "0.1,0.25,0.5,0.75,0.9"


@dataclass(frozen=True)
class SeriesOptions:
    """The parameters as they were sent."""

    names: Annotated[
        str,
        Query(alias="parameter-name", max_length=500, description="List such as u10,wind_speed_10m; all by default."),
    ] = ""
    times: Annotated[
        str,
        Query(alias="datetime", max_length=100, description="Valid time, or first/last with .. for no limit."),
    ] = "../.."
    values: Annotated[Literal["members", "statistics"], Query(description="The members, or statistics over them.")] = (
        "members"
    )
    quantiles: Annotated[
        str, Query(max_length=200, description="Probabilities of the quantiles among the statistics.")
    ] = _QUANTILES
    exceedance: Annotated[
        str,
        Query(max_length=500, description="Events such as wind_speed_10m>17.2,v10<-5, in the units of the answer."),
    ] = ""
    units: Annotated[SpeedUnits, Query(description="Units of wind: m s⁻¹, knots or km/h.")] = "ms"
    form: Annotated[SeriesFormat, Query(alias="f", description="JSON, CSV or CoverageJSON.")] = "json"

    def parse(self, faults: Faults) -> dict[str, Any]:
        """Return the fields of a `SeriesQuery`; errors of parameters are added to `faults`."""
        return {
            "names": tuple(name.strip() for name in self.names.split(",") if name.strip()),
            "units": self.units,
            "statistics": self.values == "statistics",
            "probabilities": faults.attempt(("query",), _parse_quantiles, self.quantiles),
            "exceedance": self.exceedance,
            "times": faults.attempt(("query",), Interval.parse, self.times),
            "form": self.form,
        }


SeriesOptionsDep = Annotated[SeriesOptions, Depends()]


def _parse_quantiles(text: str) -> tuple[float, ...]:
    """Return the probabilities in a list such as `0.1,0.5`; raises `ConfigurationError` for other text."""
    try:
        probabilities = tuple(float(item) for item in text.split(",") if item.strip())
    except ValueError:
        probabilities = (-1.0,)
    if (
        not all(0 <= each <= 1 for each in probabilities)
        or not len(set(probabilities)) == len(probabilities) <= _MAX_QUANTILES
    ):
        raise ConfigurationError(
            f"`quantiles` must be a list of at most {_MAX_QUANTILES} different numbers from 0 to 1, such as "
            f"{_QUANTILES}. Got: {text!r}.",
            ("quantiles",),
        )
    return probabilities
