"""Read the records of NetCDF files and Zarr stores in blocks, for data of many times."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.readers.array_search import find_arrays
from weather.readers.arrays import ArrayReader, ParsedArray
from weather.readers.decoding import round_to_minutes
from weather.readers.records import Contents, Record, RecordBlock, group_records
from weather.variables import KNOWN


def read_array_blocks(dataset: xr.Dataset, source: str, variables: Sequence[str]) -> Contents:
    """Return the same as `read_arrays`, in blocks: no record is made for each time of an array of frames."""
    blocks, problems, used = list[RecordBlock](), dict[str, None](), set[str]()
    for name in variables:
        for array in find_arrays(dataset, KNOWN[name]):
            used.add(str(array.name))
            reader = ArrayReader(dataset, array, KNOWN[name], source)
            blocks.extend(_list_blocks(reader))
            problems.update(dict.fromkeys(reader.problems))
    others = [str(name) for name in dataset.data_vars if name not in used]
    return Contents([], list(problems), others, blocks)


def _list_blocks(reader: ArrayReader) -> list[RecordBlock]:
    """Return the records of an array in blocks: a single one if they differ in their valid time alone."""
    parsed = reader.parse()
    if parsed is None:
        return []
    axis = _find_time_axis(parsed)
    if axis is None:
        return group_records([reader.make_record(parsed, index) for index in np.ndindex(parsed.shape)])
    valid_times = _valid_times(parsed, parsed.dims[axis])

    def record(offset: int) -> Record:
        return reader.make_record(parsed, tuple(offset if dim == axis else 0 for dim in range(len(parsed.dims))))

    known = np.flatnonzero(~np.isnat(valid_times))
    return [
        RecordBlock(
            valid_times=valid_times,
            example=record(int(known[0]) if len(known) else 0),
            record=record,
            read=partial(parsed.field.read_frames, axis),
            chunk_size=parsed.field.count_chunk_frames(axis),
            packing=parsed.field.packing,
        )
    ]


def _find_time_axis(parsed: ParsedArray) -> int | None:
    """Return the only dimension that is longer than 1, if along it nothing but the valid time changes."""
    long = [axis for axis, size in enumerate(parsed.shape) if size > 1]
    if len(long) > 1 or not parsed.shape or "run" in parsed.values:
        return None
    axis = long[0] if long else 0
    varying = {role for role, values in parsed.values.items() if values.varies(parsed.dims[axis])}
    has_offsets = any(parsed.values[role].values.dtype.kind == "m" for role in varying & {"time", "valid_time"})
    return axis if varying and varying <= {"time", "valid_time"} and not has_offsets else None


def _valid_times(parsed: ParsedArray, dim: str) -> NDArray[np.datetime64]:
    """Return the valid times along a dimension, by the rules of `combine_times`."""
    values = parsed.values
    if "valid_time" in values and values["valid_time"].varies(dim):
        return round_to_minutes(values["valid_time"].along(dim))
    times = values["time"].along(dim)
    return round_to_minutes(times if "step" not in values else times + values["step"].values.reshape(-1)[0])
