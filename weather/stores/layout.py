"""The shape of an ensemble store and its empty arrays: fields, coordinates, completeness, CF attributes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from weather.grids import Grid
from weather.stores.chunks import CHUNK_KEYS, field_codecs
from weather.variables import KNOWN

FIELD_DIMENSIONS = ("init_time", "lead_time", "number", "latitude", "longitude")
COMPLETE, FAILED = 1, 2
"""What `complete` says of a member at a lead time: its fields are there, or it was lost and they are NaN."""
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
        return -(-len(self.members) // self.group_size)

    def group_members(self, group: int) -> tuple[int, ...]:
        """Return the members of a group."""
        return self.members[group * self.group_size : (group + 1) * self.group_size]

    def lead_time(self, index: int) -> np.timedelta64:
        """Return the lead time of an index; index 0 is one time step ahead."""
        return (index + 1) * self.time_step

    def lead_hours(self, index: int) -> int:
        """Return the lead time of an index in hours."""
        return int(self.lead_time(index) // np.timedelta64(1, "h"))

    @property
    def size_bytes(self) -> int:
        """Bytes of all fields before compression."""
        points = self.grid.shape[0] * self.grid.shape[1]
        return 4 * self.num_lead_times * len(self.members) * len(self.variables) * points

    @property
    def index_bytes(self) -> int:
        """Bytes of all coordinates and of `complete`, with their checksums."""
        coordinates = 8 * (1 + 2 * self.num_lead_times + sum(self.grid.shape)) + 4 * len(self.members) + 6 * 4
        return coordinates + self.num_groups * self.num_lead_times * (self.group_size + 4)


def create_arrays(root: zarr.Group, layout: Layout) -> None:
    """Create every array of a store in an empty group; fields are NaN, coordinates are written."""
    shape = (1, layout.num_lead_times, len(layout.members), *layout.grid.shape)
    for name in layout.variables:
        variable = KNOWN[name]
        root.create_array(
            name,
            shape=shape,
            chunks=(1, 1, layout.group_size, *layout.grid.shape),
            dtype="float32",
            fill_value=np.nan,
            compressors=field_codecs(),
            chunk_key_encoding=CHUNK_KEYS,
            dimension_names=FIELD_DIMENSIONS,
            attributes={
                "standard_name": variable.standard_name,
                "long_name": variable.long_name,
                "units": variable.units,
                "coordinates": "valid_time",
            },
        )
    root.create_array(
        "complete",
        shape=(layout.num_lead_times, len(layout.members)),
        chunks=(1, layout.group_size),
        dtype="uint8",
        fill_value=0,
        compressors=[Crc32cCodec()],
        chunk_key_encoding=CHUNK_KEYS,
        dimension_names=("lead_time", "number"),
        attributes={
            "long_name": "1 where all fields of this lead time and member are written, 2 where it is lost, else 0",
            "units": "1",
        },
    )
    for name, coordinate in coordinates(layout).items():
        write_coordinate(root, name, *coordinate)


def write_coordinate(
    root: zarr.Group, name: str, dims: tuple[str, ...], values: NDArray[Any], attributes: dict[str, Any]
) -> None:
    """Create a coordinate and write its values."""
    array = root.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        compressors=[Crc32cCodec()],
        chunk_key_encoding=CHUNK_KEYS,
        dimension_names=dims,
        attributes=attributes,
    )
    array[...] = values


def coordinates(layout: Layout) -> dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]:
    """Return dimensions, values and attributes of every coordinate."""
    time = {"units": _EPOCH, "calendar": "proleptic_gregorian"}
    init_seconds = layout.init_time.astype("datetime64[s]").astype(np.int64)
    step_seconds = layout.time_step.astype("timedelta64[s]").astype(np.int64)
    leads = np.arange(1, layout.num_lead_times + 1, dtype=np.int64) * step_seconds
    return {
        "init_time": (
            ("init_time",),
            np.array([init_seconds]),
            {"standard_name": "forecast_reference_time", "long_name": "initial time", **time},
        ),
        "lead_time": (
            ("lead_time",),
            leads // 3600,
            {
                "standard_name": "forecast_period", "long_name": "lead time", "units": "hours",
                "dtype": "timedelta64[ns]",
            },
        ),
        "valid_time": (
            ("init_time", "lead_time"),
            (init_seconds + leads)[None],
            {"standard_name": "time", "long_name": "valid time", **time},
        ),
        "number": (
            ("number",),
            np.array(layout.members, dtype=np.int32),
            {"standard_name": "realization", "long_name": "ensemble member", "units": "1"},
        ),
        "latitude": (
            ("latitude",),
            np.array(layout.grid.latitude),
            {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"},
        ),
        "longitude": (
            ("longitude",),
            np.array(layout.grid.longitude),
            {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"},
        ),
    }  # fmt: skip
