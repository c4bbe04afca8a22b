"""NetCDF-3 files of stored fields, by the CF conventions; each lead time is a record of the file.

A file is its header and then one record after another, all of the same size, so that any range of its bytes is found
without the records before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr

from weather.exports.part import Selection
from weather.exports.stored import StoredFields

_RECORD = "valid_time"
"""The dimension of the records: software for NetCDF finds the time of a field in it."""
_NUM_RECORDS = slice(4, 8)
"""Bytes of a header with the number of records."""
_LAYOUT = "variables"
"""The attribute of a store that says which of its arrays are fields; those with a colon are for readers of Zarr."""
_LARGEST_INTEGER = 2**31 - 1
_FILLED = {"_FillValue": np.float32(np.nan)}
_NOT_FILLED = {"_FillValue": None}


@dataclass(frozen=True)
class NetcdfForm:
    """The header of a file, and the size of each record."""

    header: bytes
    record_bytes: int

    @classmethod
    def of(cls, stored: StoredFields, selection: Selection) -> Self:
        """Return the form of the file of a selection."""
        points = len(selection.rows), len(selection.columns)
        empty = {
            name: np.full((len(positions), *points), np.nan, np.float32)
            for name, positions in selection.positions.items()
        }
        dataset = _dataset(stored, selection, selection.lead_indices[0], empty)
        record_bytes = sum(array.nbytes for array in dataset.variables.values() if _RECORD in array.dims)
        header = bytearray(_encode(dataset)[:-record_bytes])
        header[_NUM_RECORDS] = len(selection.lead_indices).to_bytes(4, "big")
        return cls(bytes(header), record_bytes)


def encode_record(stored: StoredFields, selection: Selection, lead_index: int, header_bytes: int) -> bytes:
    """Return the record of a lead time, which follows a header of so many bytes or another record.

    Raises `DamagedError` if a chunk is missing or damaged.
    """
    fields = {name: selection.read(stored, name, lead_index) for name in selection.positions}
    return _encode(_dataset(stored, selection, lead_index, fields))[header_bytes:]


def _encode(dataset: xr.Dataset) -> bytes:
    return bytes(dataset.to_netcdf(format="NETCDF3_64BIT", engine="scipy", unlimited_dims=[_RECORD]))


def _dataset(
    stored: StoredFields, selection: Selection, lead_index: int, fields: Mapping[str, np.ndarray[Any, Any]]
) -> xr.Dataset:
    """Return the data set of one lead time; `fields` are (position, latitude, longitude)."""
    hours = stored.lead_hours[lead_index : lead_index + 1].astype(np.int32)
    init_seconds = np.float64(stored.init_time.astype(np.int64))
    coordinates: dict[str, tuple[tuple[str, ...], Any]] = {
        _RECORD: ((_RECORD,), init_seconds + 3600.0 * hours),
        "init_time": ((_RECORD,), np.full(1, init_seconds)),
        "lead_time": ((_RECORD,), hours),
        "latitude": (("latitude",), selection.latitude),
        "longitude": (("longitude",), selection.longitude),
    }
    variables = {}
    for name, values in fields.items():
        array = stored.fields[name]
        between = () if array.dimension is None else (array.dimension,)
        if array.dimension is not None:
            own = stored.coordinates[array.dimension][list(selection.positions[name])]
            coordinates[array.dimension] = (between, own)
        shape = (1, *values.shape) if between else values.shape
        attributes = {key: value for key, value in array.attributes.items() if key != "coordinates"}
        dimensions = (_RECORD, *between, "latitude", "longitude")
        variables[name] = xr.Variable(dimensions, values.reshape(shape), attributes, _FILLED)
    described = {
        name: xr.Variable(dimensions, values, stored.attributes_of(name), _NOT_FILLED)
        for name, (dimensions, values) in coordinates.items()
    }
    kept = {name: _plain(value) for name, value in stored.attributes.items() if name != _LAYOUT and ":" not in name}
    return xr.Dataset(variables, described, kept)


def _plain(value: Any) -> Any:
    """Return an attribute as NetCDF-3 can hold it: what is neither text nor numbers of 32 bits becomes text."""
    is_large = isinstance(value, int) and abs(value) > _LARGEST_INTEGER
    return str(value) if is_large or isinstance(value, bool | Mapping) or value is None else value
