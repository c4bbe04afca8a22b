"""Time series at places as JSON, CSV and CoverageJSON."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

Column = tuple[str, Parameter, str, NDArray[np.float32]]
"""Name, parameter, unit and values of a range of a coverage."""
REFERENCING: Sequence[Mapping[str, Any]] = (
    {
        "coordinates": ["x", "y"],
        "system": {"type": "GeographicCRS", "id": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"},
    },
    {"coordinates": ["t"], "system": {"type": "TemporalRS", "calendar": "Gregorian"}},
)
"""The reference systems of the axes of coverages."""


@dataclass(frozen=True)
class SeriesAnswer:
    """What is answered to a request for time series at places: members, or `statistics` over them.

    Without `interpolation` the places are grid points.
    """

    forecast_id: str
    series: Series
    places: Sequence[Place]
    interpolation: Interpolation | None
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


def describe_answer(answer: SeriesAnswer) -> dict[str, Any]:
    """Return the fields of an answer in JSON, but for its values: forecast, times, members and units."""
    series = answer.series
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
    }
    if answer.interpolation is None:
        del document["interpolation"]
    return document


def describe_places(answer: SeriesAnswer) -> list[dict[str, Any]]:
    """Return each place in JSON, with its values."""
    return [
        {"longitude": place.longitude, "latitude": place.latitude, "values": values}
        for place, values in zip(answer.places, values_by_place(answer), strict=True)
    ]


def values_by_place(answer: SeriesAnswer) -> list[dict[str, Any]]:
    """Return the values of the members or of the statistics of each parameter in JSON, for each place."""
    return _statistics_by_place(answer) if answer.statistics else _members_by_place(answer)


def _to_json(answer: SeriesAnswer) -> bytes:
    document = describe_answer(answer) | {"positions": describe_places(answer)}
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
    return write_table(table_rows(answer))


def write_table(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return the rows of a table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def table_rows(answer: SeriesAnswer) -> Iterator[list[Any]]:
    """Yield the names of the columns, longitude and latitude first, and then each row of the table of an answer."""
    series = answer.series
    if answer.statistics:
        statistics = [(f"{parameter.name}_{name} ({units})", v) for parameter, name, units, v in answer.columns()]
        names, columns = [name for name, _ in statistics], [values[:, None] for _, values in statistics]
        members: Sequence[int] = [len(series.members)]
    else:
        names = [f"{parameter.name} ({parameter.units})" for parameter in answer.parameters]
        columns, members = [series.members_of(parameter) for parameter in answer.parameters], series.members
    finite = series.num_finite()
    yield ["longitude", "latitude", "lead_hours", "valid_time", _member_column(answer), *names]
    table = np.stack(columns, axis=-1)
    for number, place in enumerate(answer.places):
        for lead, (hours, time) in enumerate(zip(series.lead_hours, series.valid_times, strict=True)):
            for row, member in enumerate(members):
                label = finite[lead] if answer.statistics else member
                values = ["" if value is None else value for value in _to_lists(table[lead, row, number])]
                yield [place.longitude, place.latitude, hours, _format_time(time), label, *values]


def _member_column(answer: SeriesAnswer) -> str:
    return "num_finite" if answer.statistics else "member"


def _to_coverage_json(answer: SeriesAnswer) -> bytes:
    """Return a collection with one coverage for each place, in CoverageJSON.

    Statistics are point series; members have the axis `number` besides.
    """
    columns, axes = named_columns(answer), time_axes(answer)
    document: dict[str, Any] = {
        "type": "CoverageCollection",
        "parameters": describe_columns(columns),
        "referencing": REFERENCING,
        "coverages": [
            {
                "type": "Coverage",
                "domain": _domain(answer, place),
                "ranges": {name: make_range(values[..., number], [*axes]) for name, _, _, values in columns},
            }
            for number, place in enumerate(answer.places)
        ],
    }
    if answer.statistics:
        document["domainType"] = "PointSeries"
    return json.dumps(document, allow_nan=False).encode()


def named_columns(answer: SeriesAnswer) -> list[Column]:
    """Return name, parameter, unit and values, (lead time, [member,] place), of each range of an answer."""
    if answer.statistics:
        return [(f"{parameter.name}_{name}", parameter, units, v) for parameter, name, units, v in answer.columns()]
    return [
        (parameter.name, parameter, parameter.units, answer.series.members_of(parameter))
        for parameter in answer.parameters
    ]


def time_axes(answer: SeriesAnswer) -> dict[str, Any]:
    """Return the axes that all ranges have first: times, and members unless they are statistics."""
    axes: dict[str, Any] = {"t": {"values": list(map(_format_time, answer.series.valid_times))}}
    return axes if answer.statistics else axes | {"number": {"values": list(answer.series.members)}}


def _domain(answer: SeriesAnswer, place: Place) -> dict[str, Any]:
    axes = {"x": {"values": [place.longitude]}, "y": {"values": [place.latitude]}, **time_axes(answer)}
    return {"type": "Domain", **({"domainType": "PointSeries"} if answer.statistics else {}), "axes": axes}


def describe_columns(columns: Sequence[Column]) -> dict[str, Any]:
    """Return the parameters of CoverageJSON by name."""
    return {name: describe_parameter(name, parameter, units) for name, parameter, units, _ in columns}


def describe_parameter(name: str, parameter: Parameter, units: str) -> dict[str, Any]:
    """Return a parameter of CoverageJSON, and of OGC API – EDR."""
    property_id = f"http://vocab.nerc.ac.uk/standard_name/{parameter.standard_name}/"
    observed = {"id": property_id, "label": {"en": parameter.long_name}}
    return {"type": "Parameter", "label": {"en": name}, "unit": {"symbol": units}, "observedProperty": observed}


def make_range(values: NDArray[np.float32], axes: list[str]) -> dict[str, Any]:
    """Return the values of a coverage along some axes."""
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
