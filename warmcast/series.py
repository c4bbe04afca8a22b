"""Time series of a forecast at places: the verbs `position` and `save_position`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from warmcast.errors import DownloadError
from warmcast.exchange import Request, Service, Steps, forecast_path
from warmcast.files import check_target, open_whole

SpeedUnits = Literal["ms", "kn", "kmh"]
Interpolation = Literal["bilinear", "nearest"]

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

_ANSWER_SECONDS = 300.0
_FORMATS = {".json": "json", ".csv": "csv", ".covjson": "covjson"}


def position(
    service: Service,
    forecast_id: str,
    *places: tuple[float, float],
    parameters: Sequence[str] = (),
    times: str = "../..",
    statistics: bool = False,
    quantiles: Sequence[float] = QUANTILES,
    exceedance: Sequence[str] = (),
    interpolation: Interpolation = "bilinear",
    units: SpeedUnits = "ms",
) -> Steps[dict[str, Any]]:
    """Return time series at up to 20 places (latitude, longitude), in degrees: the analysis, then complete lead times.

    They are those of all members, or with `statistics` mean, spread, `quantiles` and the shares of members in each
    event of `exceedance`, such as `wind_speed_10m>17.2`, in `units`. `parameters` are names such as `u10` and
    `wind_speed_10m`; none is all. `times` is a valid time or an interval such as `2026-04-20T06:00Z/..`. Values are
    interpolated between four grid points, or those of the nearest.
    """
    query = series_query(parameters, times, quantiles, exceedance, units, statistics=statistics)
    query |= {"coords": _format_places(places), "interpolation": interpolation}
    return (yield from read_values(service, forecast_id, "position", query))


def save_position(
    service: Service,
    forecast_id: str,
    path: str | Path,
    *places: tuple[float, float],
    parameters: Sequence[str] = (),
    times: str = "../..",
    statistics: bool = False,
    quantiles: Sequence[float] = QUANTILES,
    exceedance: Sequence[str] = (),
    interpolation: Interpolation = "bilinear",
    units: SpeedUnits = "ms",
) -> Steps[Path]:
    """Save the time series of `position` as a file and return its path; the end of the name is the format.

    That is `.csv`, `.json` or `.covjson` (CoverageJSON). The file is written whole, or not at all.
    """
    query = series_query(parameters, times, quantiles, exceedance, units, statistics=statistics)
    query |= {"coords": _format_places(places), "interpolation": interpolation}
    return (yield from save_values(service, forecast_id, "position", query, path))


def read_values(service: Service, forecast_id: str, route: str, query: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """Return the answer of a route for values by valid time."""
    request = Request("GET", forecast_path(forecast_id, route), query, answer_seconds=_ANSWER_SECONDS)
    answer: dict[str, Any] = (yield from service.call(request)).document()
    return answer


def save_values(
    service: Service, forecast_id: str, route: str, query: Mapping[str, Any], path: str | Path
) -> Steps[Path]:
    """Save the answer of a route for values by valid time as a file and return its path."""
    target = Path(path)
    check_target(target)
    if target.suffix not in _FORMATS:
        raise DownloadError(f"The name must end with {', '.join(_FORMATS)}. Got: `{target.name}`.")
    query = {**query, "f": _FORMATS[target.suffix]}
    request = Request("GET", forecast_path(forecast_id, route), query, answer_seconds=_ANSWER_SECONDS)
    content = (yield from service.call(request)).content
    with open_whole(target) as file:
        file.write(content)
    return target


def series_query(
    parameters: Sequence[str],
    times: str,
    quantiles: Sequence[float],
    exceedance: Sequence[str],
    units: SpeedUnits,
    *,
    statistics: bool,
) -> dict[str, Any]:
    """Return the query parameters that routes for values by valid time share."""
    query: dict[str, Any] = {"units": units}
    if parameters:
        query["parameter-name"] = ",".join(parameters)
    if times != "../..":
        query["datetime"] = times
    if statistics:
        query |= {"values": "statistics", "quantiles": ",".join(map(str, quantiles))}
    if exceedance:
        query["exceedance"] = ",".join(exceedance)
    return query


def _format_places(places: Sequence[tuple[float, float]]) -> str:
    return f"MULTIPOINT({','.join(f'({east} {north})' for north, east in places)})"
