"""The shape of a summary store and its empty arrays: statistics of each variable, one chunk a lead time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from weather.grids import spatial_attributes
from weather.stores.chunks import ChunkFormat
from weather.stores.layout import Coordinate, Layout, ensemble_coordinates, write_coordinate
from weather.stores.summary_request import Summary, summary_variables
from weather.variables import WIND_SPEED_10M, Variable

SUMMARY_TITLE = "Summary of a {}"
"""Title of a summary, of the title of its ensemble."""
WIND_DIRECTION = "wind_direction_10m"
_OPERATIONS = {"above": ">", "below": "<"}

Statistic = tuple[str, tuple[tuple[str, int], ...], dict[str, Any]]
"""Name, leading dimensions with their sizes, and attributes."""


@dataclass(frozen=True)
class SummaryLayout:
    """Shape and coordinates of the summary of an ensemble; defaults of `request` are filled in.

    Fields are (latitude, longitude) with longitudes from [−180, 180). Raises `ConfigurationError` for a threshold of a
    variable that the ensemble does not have.
    """

    ensemble: Layout
    request: Summary

    def __post_init__(self) -> None:
        object.__setattr__(self, "request", self.request.with_defaults(self.ensemble.variables))

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Variables of the summary: the ensemble's, and wind speed if it has both components."""
        return summary_variables(self.ensemble.variables)

    @property
    def has_wind(self) -> bool:
        """Whether the summary holds speed and direction of the wind."""
        return WIND_SPEED_10M in self.variables

    def thresholds(self, variable: str, side: str) -> tuple[float, ...]:
        """Return the thresholds of a variable, `above` or `below`, in ascending order."""
        return tuple(
            threshold.value
            for threshold in self.request.exceedance or ()
            if (threshold.variable, threshold.op) == (variable, _OPERATIONS[side])
        )

    @cached_property
    def eastward_columns(self) -> int:
        """Number of the ensemble's columns from 0° to below 180°, which are the last ones here."""
        return int(np.sum(np.asarray(self.ensemble.grid.longitude) < 180.0))

    @cached_property
    def longitude(self) -> NDArray[np.float64]:
        """Longitudes from [−180, 180), degrees, in their order."""
        east = np.array(self.ensemble.grid.longitude)
        return np.roll(np.where(east < 180.0, east, east - 360.0), -self.eastward_columns)

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of all fields before compression."""
        latitudes, longitudes = self.ensemble.grid.shape
        fields = sum(int(np.prod([size for _, size in dims])) for _, dims, _ in self.statistics())
        return 4 * self.ensemble.num_lead_times * fields * latitudes * longitudes

    @cached_property
    def formats(self) -> dict[str, ChunkFormat]:
        """Chunk formats of the statistics, of `members` and of `complete`: a chunk is one lead time."""
        statistics = {
            name: ChunkFormat(name, (1, 1, *(size for _, size in dims), *self.ensemble.grid.shape))
            for name, dims, _ in self.statistics()
        }
        return statistics | {
            "members": ChunkFormat("members", (1,), "int32", compressed=False),
            "complete": ChunkFormat("complete", (1,), "uint8", compressed=False),
        }

    def statistics(self) -> Iterator[Statistic]:
        """Yield name, leading dimensions with their sizes, and attributes of each statistic."""
        for variable in self.variables:
            yield from self._moments(variable)
            yield from self._probabilities(variable)
        if self.has_wind:
            wind = {"standard_name": "wind_from_direction", "units": "degree"}
            yield WIND_DIRECTION, (), wind | {"long_name": "direction that the mean of the 10 metre wind comes from"}

    def _moments(self, variable: Variable) -> Iterator[Statistic]:
        name, long_name, units = variable.name, variable.long_name, variable.units
        cf = {"standard_name": variable.standard_name, "units": units}
        yield f"{name}_mean", (), cf | {"long_name": f"mean of {long_name}", "cell_methods": "realization: mean"}
        spread = {
            "long_name": f"spread of {long_name}: standard deviation over members, unbiased (divisor M − 1)",
            "units": units,
            "cell_methods": "realization: standard_deviation",
        }
        yield f"{name}_spread", (), spread

    def _probabilities(self, variable: Variable) -> Iterator[Statistic]:
        name, long_name, quantiles = variable.name, variable.long_name, len(self.request.quantiles)
        cf = {"standard_name": variable.standard_name, "units": variable.units}
        if quantiles:
            yield f"{name}_quantiles", (("quantile", quantiles),), cf | {"long_name": f"quantiles of {long_name}"}
        for side in _OPERATIONS:
            if values := self.thresholds(name, side):
                dims = ((f"{name}_{side}_threshold", len(values)),)
                share = {"long_name": f"share of members with {long_name} {side} the threshold", "units": "1"}
                yield f"{name}_{side}", dims, share


def summary_attributes(
    attributes: Mapping[str, Any], layout: SummaryLayout, *, is_placed: bool = True
) -> dict[str, Any]:
    """Return all attributes of a summary store, of those of its forecast; without `is_placed` as earlier versions."""
    own: dict[str, Any] = {}
    if is_placed:
        own = spatial_attributes(layout.ensemble.grid.latitude, layout.longitude.tolist())
        own["variables"] = " ".join(layout.ensemble.variables)
    return {**attributes, **own, "title": SUMMARY_TITLE.format(attributes.get("title", "forecast"))}


def create_summary_arrays(root: zarr.Group, layout: SummaryLayout) -> None:
    """Create every array of a summary store in an empty group; fields are NaN, coordinates are written."""
    ensemble = layout.ensemble
    for name, dims, attributes in layout.statistics():
        layout.formats[name].create_array(
            root,
            (1, ensemble.num_lead_times, *(size for _, size in dims), *ensemble.grid.shape),
            ("init_time", "lead_time", *(dim for dim, _ in dims), "latitude", "longitude"),
            {**attributes, "coordinates": "valid_time"},
        )
    for name, meaning in (
        ("members", "number of members that the statistics are of: those that are finite everywhere"),
        ("complete", "1 where all fields of this lead time are written, else 0"),
    ):
        attributes = {"long_name": meaning, "units": "1"}
        layout.formats[name].create_array(root, (ensemble.num_lead_times,), ("lead_time",), attributes)
    for name, coordinate in _coordinates(layout).items():
        write_coordinate(root, name, coordinate)


def _coordinates(layout: SummaryLayout) -> dict[str, Coordinate]:
    result = ensemble_coordinates(layout.ensemble)
    del result["number"]
    dims, _, attributes = result["longitude"]
    result["longitude"] = (dims, layout.longitude, attributes)
    if layout.request.quantiles:
        quantile = {"long_name": "quantile of the members", "units": "1"}
        result["quantile"] = (("quantile",), np.array(layout.request.quantiles), quantile)
    for variable in layout.variables:
        for side in _OPERATIONS:
            if values := layout.thresholds(variable.name, side):
                name = f"{variable.name}_{side}_threshold"
                threshold = {"long_name": f"threshold of {variable.long_name}", "units": variable.units}
                result[name] = ((name,), np.array(values), threshold)
    return result
