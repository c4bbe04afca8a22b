"""The shape of a summary store and its empty arrays: one field of a statistic for each lead time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from weather.stores.chunks import CHUNK_KEYS, field_codecs
from weather.stores.layout import Layout, coordinates, write_coordinate
from weather.stores.summary_request import Summary, summarised
from weather.variables import WIND_SPEED_10M, Variable

WIND_DIRECTION = "wind_direction_10m"
_OPERATIONS = {"above": ">", "below": "<"}


@dataclass(frozen=True)
class SummaryLayout:
    """Shape and coordinates of an ensemble's summary; raises `ConfigurationError` for thresholds of what is not there.

    Fields are (latitude, longitude), longitudes from [−180, 180); `asked` is complete.
    """

    ensemble: Layout
    asked: Summary

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", self.asked.complete(self.ensemble.variables))

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables that there are statistics of."""
        return summarised(self.ensemble.variables)

    @property
    def has_wind(self) -> bool:
        """Whether there are speed and direction of the wind."""
        return WIND_SPEED_10M in self.variables

    def thresholds(self, variable: str, side: str) -> tuple[float, ...]:
        """Return the thresholds of a variable, `above` or `below`, rising."""
        return tuple(
            threshold.value
            for threshold in self.asked.exceedance or ()
            if (threshold.variable, threshold.op) == (variable, _OPERATIONS[side])
        )

    @cached_property
    def eastward_columns(self) -> int:
        """How many columns of the ensemble are east of Greenwich, before 180°; they come second here."""
        return int(np.sum(np.asarray(self.ensemble.grid.longitude) < 180.0))

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of all fields before compression."""
        latitudes, longitudes = self.ensemble.grid.shape
        fields = sum(int(np.prod([size for _, size in dims])) for _, dims, _ in self.fields())
        return 4 * self.ensemble.num_lead_times * fields * latitudes * longitudes

    def fields(self) -> Iterator[tuple[str, tuple[tuple[str, int], ...], dict[str, Any]]]:
        """Yield name, leading dimensions with their sizes, and attributes of each statistic."""
        quantiles = len(self.asked.quantiles)
        for variable in self.variables:
            name, long_name, units = variable.name, variable.long_name, variable.units
            cf = {"standard_name": variable.standard_name, "units": units}
            yield f"{name}_mean", (), cf | {"long_name": f"mean of {long_name}", "cell_methods": "realization: mean"}
            yield (
                f"{name}_spread",
                (),
                {
                    "long_name": f"spread of {long_name}: standard deviation over members, unbiased (divisor M − 1)",
                    "units": units,
                    "cell_methods": "realization: standard_deviation",
                },
            )
            if quantiles:
                yield f"{name}_quantiles", (("quantile", quantiles),), cf | {"long_name": f"quantiles of {long_name}"}
            for side in _OPERATIONS:
                if values := self.thresholds(name, side):
                    dims = ((f"{name}_{side}_threshold", len(values)),)
                    told = {"long_name": f"share of members with {long_name} {side} the threshold", "units": "1"}
                    yield f"{name}_{side}", dims, told
        if self.has_wind:
            told = {"standard_name": "wind_from_direction", "units": "degree"}
            yield WIND_DIRECTION, (), told | {"long_name": "direction that the mean of the 10 metre wind comes from"}


def create_summary_arrays(root: zarr.Group, layout: SummaryLayout) -> None:
    """Create every array of a summary store in an empty group; fields are NaN, coordinates are written."""
    ensemble = layout.ensemble
    for name, dims, attributes in layout.fields():
        sizes = tuple(size for _, size in dims)
        root.create_array(
            name,
            shape=(1, ensemble.num_lead_times, *sizes, *ensemble.grid.shape),
            chunks=(1, 1, *sizes, *ensemble.grid.shape),
            dtype="float32",
            fill_value=np.nan,
            compressors=field_codecs(),
            chunk_key_encoding=CHUNK_KEYS,
            dimension_names=("init_time", "lead_time", *(dim for dim, _ in dims), "latitude", "longitude"),
            attributes={**attributes, "coordinates": "valid_time"},
        )
    for name, dtype, told in (
        ("members", "int32", "number of members that the statistics are of: those that are finite everywhere"),
        ("complete", "uint8", "1 where all fields of this lead time are written, else 0"),
    ):
        root.create_array(
            name,
            shape=(ensemble.num_lead_times,),
            chunks=(1,),
            dtype=dtype,
            fill_value=0,
            compressors=[Crc32cCodec()],
            chunk_key_encoding=CHUNK_KEYS,
            dimension_names=("lead_time",),
            attributes={"long_name": told, "units": "1"},
        )
    for name, coordinate in _coordinates(layout).items():
        write_coordinate(root, name, *coordinate)


def _coordinates(layout: SummaryLayout) -> dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]:
    result = coordinates(layout.ensemble)
    del result["number"]
    dims, east, attributes = result["longitude"]
    result["longitude"] = (
        dims,
        np.roll(np.where(east < 180.0, east, east - 360.0), -layout.eastward_columns),
        attributes,
    )
    if layout.asked.quantiles:
        told = {"long_name": "quantile of the members", "units": "1"}
        result["quantile"] = (("quantile",), np.array(layout.asked.quantiles), told)
    for variable in layout.variables:
        for side in _OPERATIONS:
            if values := layout.thresholds(variable.name, side):
                name = f"{variable.name}_{side}_threshold"
                told = {"long_name": f"threshold of {variable.long_name}", "units": variable.units}
                result[name] = ((name,), np.array(values), told)
    return result
