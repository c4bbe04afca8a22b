"""Values in an area as JSON, CSV and CoverageJSON."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from diagnostics.area_series import Reduction
from service.series_formats import (
    REFERENCING,
    SeriesAnswer,
    SeriesFormat,
    describe_answer,
    describe_columns,
    describe_places,
    make_range,
    named_columns,
    table_rows,
    time_axes,
    values_by_place,
    write_table,
)
from storage.errors import ConfigurationError
from weather.areas import Area, GridPoints
from weather.region import Region


@dataclass(frozen=True)
class AreaAnswer:
    """What is answered to a request for an area: a series at each of its `points`, or one of their reduction."""

    series: SeriesAnswer
    points: GridPoints
    area: Area | Region
    reduction: Reduction

    def render(self, form: SeriesFormat) -> bytes:
        """Return the answer in a format, in UTF-8; raise `ConfigurationError` for one that it does not have."""
        return _RENDERERS[form](self)

    @property
    def reduced(self) -> SeriesAnswer:
        """The series of the reduction; its place has no meaning."""
        return replace(self.series, places=self.series.places[:1])


def _to_json(answer: AreaAnswer) -> bytes:
    document = describe_answer(answer.series)
    document |= {"reduce": answer.reduction, "num_points": len(answer.points.rows)}
    if answer.reduction == "none":
        document["positions"] = describe_places(answer.series)
    else:
        (document["values"],) = values_by_place(answer.reduced)
    return json.dumps(document, allow_nan=False).encode()


def _to_csv(answer: AreaAnswer) -> bytes:
    """Return the table of all points; that of a reduction has no columns of places."""
    if answer.reduction == "none":
        return answer.series.render("csv")
    return write_table(row[2:] for row in table_rows(answer.reduced))


def _to_coverage_json(answer: AreaAnswer) -> bytes:
    """Return one coverage: a grid, whose points outside the area are null, or the series of a polygon.

    Members have the axis `number` besides, and then no type of domain.
    """
    series, columns = answer.series, named_columns(answer.series)
    axes = time_axes(series)
    if answer.reduction == "none":
        domain_type, (latitudes, rows), (longitudes, columns_of_points) = "Grid", *answer.points.axes
        ranges = {}
        for name, _, _, values in columns:
            grid = np.full((*values.shape[:-1], len(latitudes), len(longitudes)), np.nan, np.float32)
            grid[..., rows, columns_of_points] = values
            ranges[name] = make_range(grid, [*axes, "y", "x"])
        axes |= {"y": {"values": latitudes.tolist()}, "x": {"values": longitudes.tolist()}}
    else:
        domain_type = "PolygonSeries"
        ranges = {name: make_range(values[..., 0], [*axes]) for name, _, _, values in columns}
        axes["composite"] = {"dataType": "polygon", "coordinates": ["x", "y"], "values": [_rings(answer.area)]}
    domain = {"type": "Domain", "axes": axes, "referencing": REFERENCING}
    if series.statistics:
        domain["domainType"] = domain_type
    document = {"type": "Coverage", "domain": domain, "parameters": describe_columns(columns), "ranges": ranges}
    return json.dumps(document, allow_nan=False).encode()


def _rings(area: Area | Region) -> list[Any]:
    """Return the rings of the polygon of an area; raise `ConfigurationError` if it has several polygons."""
    if isinstance(area, Region):
        west, south, east, north = area.west, area.south, area.east, area.north
        return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]
    if len(area.polygons) > 1:
        raise ConfigurationError(
            "`f` must be json or csv for the reduction of several polygons: a coverage has one. Got: covjson.", ("f",)
        )
    return [list(map(list, ring)) for ring in area.polygons[0]]


_RENDERERS: Mapping[SeriesFormat, Callable[[AreaAnswer], bytes]] = MappingProxyType(
    {"json": _to_json, "csv": _to_csv, "covjson": _to_coverage_json}
)
