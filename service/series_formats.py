"""Time series at places as JSON, CSV and CoverageJSON."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diagnostics.parameters import Parameter
from diagnostics.series import Series
from weather.places import Interpolation, Place
from weather.stores.summary_request import Threshold

SeriesFormat = Literal["json", "csv", "covjson"]

MEDIA_TYPES: Mapping[SeriesFormat, str] = MappingProxyType(
    {"json": "application/json", "csv": "text/csv; charset=utf-8", "covjson": "application/prs.coverage+json"}
)


@dataclass(frozen=True)
class SeriesAnswer:
    """What is answered to a request for time series at places: members, or `statistics` over them."""

    forecast_id: str
    series: Series
    places: Sequence[Place]
    interpolation: Interpolation
    parameters: Sequence[Parameter]
    statistics: bool
    probabilities: Sequence[float]
    thresholds: Sequence[Threshold]
    num_lead_times: int
    complete_lead_times: int

    def columns(self) -> Iterator[tuple[Parameter, str, str, NDArray[np.float32]]]:
        """Yield the parameter, name, unit and values (lead time, place) of each statistic."""
        for parameter in self.parameters:
            for name, units, values in self.series.statistics_of(parameter, self.probabilities, self.thresholds):
                yield parameter, name, units, values

    def render(self, form: SeriesFormat) -> bytes:
        """Return the answer in a format, in UTF-8."""
        return _RENDERERS[form](self)


def _to_json(answer: SeriesAnswer) -> bytes:
    series = answer.series
    values = _statistics_by_place(answer) if answer.statistics else _members_by_place(answer)
    document = {
        "id": answer.forecast_id,
        "init_time": _format_time(series.init_time),
        "interpolation": answer.interpolation,
        "num_lead_times": answer.num_lead_times,
        "complete_lead_times": answer.complete_lead_times,
        "lead_hours": list(series.lead_hours),
        "valid_time": list(map(_format_time, series.valid_times)),
        "members": list(series.members),
        "num_finite": series.num_finite().tolist(),
        "units": {parameter.name: parameter.units for parameter in answer.parameters},
        "positions": [
            {"longitude": place.longitude, "latitude": place.latitude, "values": of_place}
            for place, of_place in zip(answer.places, values, strict=True)
        ],
    }
    return json.dumps(document, allow_nan=False).encode()


def _members_by_place(answer: SeriesAnswer) -> list[dict[str, Any]]:
    """Return the values of the members of each parameter, (lead time, member) as lists, for each place."""
    members = {parameter.name: answer.series.members_of(parameter) for parameter in answer.parameters}
    places = range(len(answer.places))
    return [{name: _to_lists(values[:, :, place]) for name, values in members.items()} for place in places]


def _statistics_by_place(answer: SeriesAnswer) -> list[dict[str, Any]]:
    """Return the values of the statistics of each parameter by name, a list over lead times, for each place."""
    result: list[dict[str, Any]] = [{each.name: {} for each in answer.parameters} for _ in answer.places]
    for parameter, name, _, values in answer.columns():
        for place, of_place in enumerate(result):
            of_place[parameter.name][name] = _to_lists(values[:, place])
    return result


def _to_csv(answer: SeriesAnswer) -> bytes:
    """Return a line for each place and lead time, and each member unless it has statistics.

    Names of columns have the unit in parentheses; a missing value is empty.
    """
    series, text = answer.series, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if answer.statistics:
        statistics = [(f"{parameter.name}_{name} ({units})", v) for parameter, name, units, v in answer.columns()]
        names, columns = [name for name, _ in statistics], [values[:, None] for _, values in statistics]
        members: Sequence[int] = [len(series.members)]
    else:
        names = [f"{parameter.name} ({parameter.units})" for parameter in answer.parameters]
        columns, members = [series.members_of(parameter) for parameter in answer.parameters], series.members
    finite = series.num_finite()
    writer.writerow(["longitude", "latitude", "lead_hours", "valid_time", _member_column(answer), *names])
    table = np.stack(columns, axis=-1)
    for number, place in enumerate(answer.places):
        for lead, (hours, time) in enumerate(zip(series.lead_hours, series.valid_times, strict=True)):
            for row, member in enumerate(members):
                label = finite[lead] if answer.statistics else member
                values = ["" if value is None else value for value in _to_lists(table[lead, row, number])]
                writer.writerow([place.longitude, place.latitude, hours, _format_time(time), label, *values])
    return text.getvalue().encode()


def _member_column(answer: SeriesAnswer) -> str:
    return "num_finite" if answer.statistics else "member"


def _to_coverage_json(answer: SeriesAnswer) -> bytes:
    """Return a collection with one coverage for each place, in CoverageJSON.

    Statistics are point series; members have the axis `number` besides.
    """
    if answer.statistics:
        columns = [(f"{parameter.name}_{name}", parameter, units, v) for parameter, name, units, v in answer.columns()]
    else:
        columns = [
            (parameter.name, parameter, parameter.units, answer.series.members_of(parameter))
            for parameter in answer.parameters
        ]
    axes = ["t"] if answer.statistics else ["t", "number"]
    geographic = {"type": "GeographicCRS", "id": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}
    document: dict[str, Any] = {
        "type": "CoverageCollection",
        "parameters": {name: _describe(name, parameter, units) for name, parameter, units, _ in columns},
        "referencing": [
            {"coordinates": ["x", "y"], "system": geographic},
            {"coordinates": ["t"], "system": {"type": "TemporalRS", "calendar": "Gregorian"}},
        ],
        "coverages": [
            {
                "type": "Coverage",
                "domain": _domain(answer, place),
                "ranges": {name: _range(values[..., number], axes) for name, _, _, values in columns},
            }
            for number, place in enumerate(answer.places)
        ],
    }
    if answer.statistics:
        document["domainType"] = "PointSeries"
    return json.dumps(document, allow_nan=False).encode()


def _domain(answer: SeriesAnswer, place: Place) -> dict[str, Any]:
    axes: dict[str, Any] = {
        "x": {"values": [place.longitude]},
        "y": {"values": [place.latitude]},
        "t": {"values": list(map(_format_time, answer.series.valid_times))},
    }
    if answer.statistics:
        return {"type": "Domain", "domainType": "PointSeries", "axes": axes}
    return {"type": "Domain", "axes": axes | {"number": {"values": list(answer.series.members)}}}


def _describe(name: str, parameter: Parameter, units: str) -> dict[str, Any]:
    property_id = f"http://vocab.nerc.ac.uk/standard_name/{parameter.standard_name}/"
    observed = {"id": property_id, "label": {"en": parameter.long_name}}
    return {"type": "Parameter", "label": {"en": name}, "unit": {"symbol": units}, "observedProperty": observed}


def _range(values: NDArray[np.float32], axes: list[str]) -> dict[str, Any]:
    flat = _to_lists(values.reshape(-1))
    return {"type": "NdArray", "dataType": "float", "axisNames": axes, "shape": list(values.shape), "values": flat}


def _to_lists(values: NDArray[np.float32]) -> list[Any]:
    """Return nested lists of the shortest decimals that are these numbers in float32, None for NaN."""
    exact = np.array([float(text) for text in values.astype(str).reshape(-1)], object).reshape(values.shape)
    exact[np.isnan(values)] = None
    return list(exact.tolist())


def _format_time(time: np.datetime64) -> str:
    return f"{time.astype('datetime64[s]')}Z"


_RENDERERS: Mapping[SeriesFormat, Callable[[SeriesAnswer], bytes]] = MappingProxyType(
    {"json": _to_json, "csv": _to_csv, "covjson": _to_coverage_json}
)
