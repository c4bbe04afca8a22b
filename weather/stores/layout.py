"""The shape of an ensemble store and its empty arrays: fields, coordinates, completeness, CF attributes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from weather.grids import Grid, spatial_attributes
from weather.stores.chunks import ChunkFormat
from weather.variables import KNOWN

ENSEMBLE, SUMMARY = "ensemble.zarr", "summary.zarr"
"""Names of the two stores that clients read, in the folder of a forecast and in its URLs."""

FIELD_DIMENSIONS = ("init_time", "lead_time", "number", "latitude", "longitude")
COMPLETE, LOST = 1, 2
"""Values of `complete` for a member at a lead time: its fields are written, or the member is lost and they are NaN."""

Coordinate = tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]
"""Dimensions, values and attributes."""

_EPOCH = "seconds since 1970-01-01 00:00:00"


@dataclass(frozen=True)
class Layout:
    """Shape and coordinates of an ensemble: members in groups of `group_size`, lead times of `time_step`."""

    init_time: np.datetime64
    num_lead_times: int
    time_step: np.timedelta64
    members: tuple[int, ...]
    group_size: int
    variables: tuple[str, ...]
    grid: Grid

    @property
    def num_groups(self) -> int:
        """Number of member groups; the last one may be short."""
        return count_groups(len(self.members), self.group_size)

    def group_members(self, group: int) -> tuple[int, ...]:
        """Return the members of a group."""
        return self.members[group * self.group_size : (group + 1) * self.group_size]

    def lead_time(self, index: int) -> np.timedelta64:
        """Return the lead time of an index; index 0 is one time step ahead."""
        return (index + 1) * self.time_step

    def valid_time(self, index: int) -> np.datetime64:
        """Return the valid time of a lead time's index."""
        return self.init_time + self.lead_time(index)

    def lead_hours(self, index: int) -> int:
        """Return the lead time of an index in hours."""
        return int(self.lead_time(index) // np.timedelta64(1, "h"))

    @property
    def size_bytes(self) -> int:
        """Bytes of all fields before compression."""
        points = self.grid.shape[0] * self.grid.shape[1]
        return 4 * self.num_lead_times * len(self.members) * len(self.variables) * points

    @property
    def group_bytes(self) -> int:
        """Bytes of the fields of one lead time of a full group, before compression."""
        points = self.grid.shape[0] * self.grid.shape[1]
        return 4 * self.group_size * len(self.variables) * points

    @property
    def index_bytes(self) -> int:
        """Bytes of all coordinates and of `complete`, with their checksums."""
        coordinates = 8 * (1 + 2 * self.num_lead_times + sum(self.grid.shape)) + 4 * len(self.members) + 6 * 4
        return coordinates + self.num_groups * self.num_lead_times * (self.group_size + 4)

    @cached_property
    def formats(self) -> dict[str, ChunkFormat]:
        """Chunk formats of the variables and, last, of `complete`: a chunk is one lead time of one group."""
        shape = (1, 1, self.group_size, *self.grid.shape)
        fields = {name: ChunkFormat(name, shape) for name in self.variables}
        return fields | {"complete": ChunkFormat("complete", (1, self.group_size), "uint8", compressed=False)}


def count_groups(num_members: int, group_size: int) -> int:
    """Return the number of groups of `num_members` members; the last one may be smaller than `group_size`."""
    return -(-num_members // group_size)


def ensemble_attributes(attributes: Mapping[str, Any], layout: Layout, *, is_placed: bool = True) -> dict[str, Any]:
    """Return all attributes of an ensemble store, of those of its forecast; without `is_placed` as earlier versions."""
    place = spatial_attributes(layout.grid.latitude, layout.grid.longitude) if is_placed else {}
    return {**attributes, **place, "variables": " ".join(layout.variables)}


def create_ensemble_arrays(root: zarr.Group, layout: Layout) -> None:
    """Create every array of an ensemble store in an empty group; fields are NaN, coordinates are written."""
    for name in layout.variables:
        variable = KNOWN[name]
        layout.formats[name].create_array(
            root,
            (1, layout.num_lead_times, len(layout.members), *layout.grid.shape),
            FIELD_DIMENSIONS,
            {
                "standard_name": variable.standard_name,
                "long_name": variable.long_name,
                "units": variable.units,
                "coordinates": "valid_time",
            },
        )
    layout.formats["complete"].create_array(
        root,
        (layout.num_lead_times, len(layout.members)),
        ("lead_time", "number"),
        {
            "long_name": "1 where all fields of this lead time and member are written, 2 where it is lost, else 0",
            "units": "1",
        },
    )
    for name, coordinate in ensemble_coordinates(layout).items():
        write_coordinate(root, name, coordinate)


def write_coordinate(root: zarr.Group, name: str, coordinate: Coordinate) -> None:
    """Create a coordinate as an array of one chunk, and write its values."""
    dimensions, values, attributes = coordinate
    chunk = ChunkFormat(name, values.shape, values.dtype.name, compressed=False)
    array = chunk.create_array(root, values.shape, dimensions, attributes)
    array[...] = values


def ensemble_coordinates(layout: Layout) -> dict[str, Coordinate]:
    """Return every coordinate of an ensemble store by name, with its CF attributes."""
    time = {"units": _EPOCH, "calendar": "proleptic_gregorian"}
    hours = {"units": "hours", "dtype": "timedelta64[ns]"}
    init_seconds = layout.init_time.astype("datetime64[s]").astype(np.int64)
    step_seconds = layout.time_step.astype("timedelta64[s]").astype(np.int64)
    lead_seconds = np.arange(1, layout.num_lead_times + 1, dtype=np.int64) * step_seconds
    valid_seconds = (init_seconds + lead_seconds)[None]
    reference = {"standard_name": "forecast_reference_time", "long_name": "initial time", **time}
    period = {"standard_name": "forecast_period", "long_name": "lead time", **hours}
    valid = {"standard_name": "time", "long_name": "valid time", **time}
    member = {"standard_name": "realization", "long_name": "ensemble member", "units": "1"}
    latitude = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"}
    longitude = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"}
    return {
        "init_time": (("init_time",), np.array([init_seconds]), reference),
        "lead_time": (("lead_time",), lead_seconds // 3600, period),
        "valid_time": (("init_time", "lead_time"), valid_seconds, valid),
        "number": (("number",), np.array(layout.members, dtype=np.int32), member),
        "latitude": (("latitude",), np.array(layout.grid.latitude), latitude),
        "longitude": (("longitude",), np.array(layout.grid.longitude), longitude),
    }
