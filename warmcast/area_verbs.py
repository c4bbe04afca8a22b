"""Values of a forecast in an area: the verbs `area` and `save_area`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from warmcast.exchange import Service, Steps
from warmcast.series import QUANTILES, SpeedUnits, read_values, save_values, series_query

Reduction = Literal["none", "mean", "max", "min"]
Box = tuple[float, float, float, float]


def area(
    service: Service,
    forecast_id: str,
    area: str | Box,
    *,
    reduce: Reduction = "none",
    parameters: Sequence[str] = (),
    times: str = "../..",
    statistics: bool = False,
    quantiles: Sequence[float] = QUANTILES,
    exceedance: Sequence[str] = (),
    units: SpeedUnits = "ms",
) -> Steps[dict[str, Any]]:
    """Return time series in an area: a box (west, south, east, north), or a polygon such as `POLYGON((5 45, …))`.

    They are those at each grid point in it or, with `reduce`, of the mean, maximum or minimum of each member over these
    points. The mean is weighted by the area of the grid cells. All else is as of `position`.
    """
    query = series_query(parameters, times, quantiles, exceedance, units, statistics=statistics)
    route, place = _locate(area)
    return (yield from read_values(service, forecast_id, route, query | place | {"reduce": reduce}))


def save_area(
    service: Service,
    forecast_id: str,
    path: str | Path,
    area: str | Box,
    *,
    reduce: Reduction = "none",
    parameters: Sequence[str] = (),
    times: str = "../..",
    statistics: bool = False,
    quantiles: Sequence[float] = QUANTILES,
    exceedance: Sequence[str] = (),
    units: SpeedUnits = "ms",
) -> Steps[Path]:
    """Save the time series of `area` as a file and return its path; the end of the name is the format.

    That is `.csv`, `.json` or `.covjson` (CoverageJSON). The file is written whole, or not at all.
    """
    query = series_query(parameters, times, quantiles, exceedance, units, statistics=statistics)
    route, place = _locate(area)
    return (yield from save_values(service, forecast_id, route, query | place | {"reduce": reduce}, path))


def _locate(area: str | Box) -> tuple[str, dict[str, Any]]:
    """Return the route for an area, and the query parameter that names it."""
    return ("area", {"coords": area}) if isinstance(area, str) else ("cube", {"bbox": ",".join(map(str, area))})
