"""Read the records of NetCDF files and Zarr stores: every field of the requested variables, found by CF and names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.readers.array_search import find_arrays
from weather.readers.conventions import (
    Role,
    assumed_units,
    describe_grid,
    is_weak,
    level_called,
    pressure_factor,
    role_of,
)
from weather.readers.decoding import (
    TIME_ROLES,
    FieldError,
    combine_times,
    decode_members,
    decode_steps,
    decode_times,
    decode_versions,
)
from weather.readers.fields import ArrayField
from weather.readers.points import Points, PointsError
from weather.readers.records import Contents, Level, Record
from weather.readers.statistic import statistic_called, statistic_of
from weather.units import accepted_units, conversion
from weather.variables import KNOWN, Variable

_DEGREES_TOLERANCE = 1e-3

T = TypeVar("T")


def read_arrays(dataset: xr.Dataset, source: str, variables: Sequence[str]) -> Contents:
    """Return the records of `variables` in a dataset that was opened without decoded times, and its other names.

    Only the coordinates of the requested variables are decoded. What cannot be understood is a problem.
    """
    records, problems, used = list[Record](), dict[str, None](), set[str]()
    for name in variables:
        for array in find_arrays(dataset, KNOWN[name]):
            used.add(str(array.name))
            reader = ArrayReader(dataset, array, KNOWN[name], source)
            records.extend(reader.records())
            problems.update(dict.fromkeys(reader.problems))
    return Contents(records, list(problems), [str(name) for name in dataset.data_vars if name not in used])


@dataclass(frozen=True)
class ParsedArray:
    """What is known of an array: dimensions but rows and columns, their sizes, coordinates by role, points, field."""

    dims: Sequence[str]
    shape: tuple[int, ...]
    values: "dict[Role, CoordinateValues]"
    points: Points
    field: ArrayField


class ArrayReader:
    """Reads the records of one array."""

    def __init__(self, dataset: xr.Dataset, array: xr.DataArray, variable: Variable, source: str) -> None:
        self._dataset, self._array, self._variable, self._source = dataset, array, variable, source
        self.problems = list[str]()
        self._coordinates = dict(self._find_coordinates())
        self._statistic = statistic_of(array, dataset.attrs)
        self._version = str(array.attrs.get("GRIB_experimentVersionNumber", ""))
        self._notes: tuple[str, ...] = ()

    def records(self) -> list[Record]:
        """Return the records of every time, step, member, level and version; none if there are `problems`."""
        parsed = self.parse()
        if parsed is None:
            return []
        return [self.make_record(parsed, index) for index in np.ndindex(parsed.shape)]

    def parse(self) -> ParsedArray | None:
        """Return what is known of the array, or None if there are `problems`."""
        scaling = self._check(self._find_scaling)
        points = self._check(self._find_points)
        self._check(self._require_known_dimensions)
        values = self._check(self._decode_coordinates)
        if self.problems or scaling is None or points is None or values is None:
            return None
        row_dim, column_dim = (str(self._horizontal(role).dims[0]) for role in ("latitude", "longitude"))
        dims = [str(dim) for dim in self._array.dims if dim not in (row_dim, column_dim)]
        field = ArrayField(self._array, (*dims, row_dim, column_dim), points, scaling)
        return ParsedArray(dims, tuple(self._array.sizes[dim] for dim in dims), values, points, field)

    def _check(self, find: Callable[[], T]) -> T | None:
        """Return what `find` returns; if it raises an error about the field, None, with the problem added."""
        try:
            return find()
        except (FieldError, PointsError) as error:
            self.problems.append(str(error))
            return None

    def _find_points(self) -> Points:
        latitude, longitude = (self._horizontal(role) for role in ("latitude", "longitude"))
        return Points.of(latitude.values, longitude.values)

    def _decode_coordinates(self) -> dict[Role, "CoordinateValues"]:
        if not any(role in self._coordinates for role in TIME_ROLES):
            raise FieldError(
                f"`{self._variable.name}` must have a `time` coordinate that gives the valid time of each frame."
            )
        values = {role: self._values_of(role) for role in self._coordinates if role not in ("latitude", "longitude")}
        if self._time_is_valid_time(values):
            values["valid_time"] = values.pop("time")
        return values

    def _time_is_valid_time(self, values: Mapping[Role, "CoordinateValues"]) -> bool:
        """Return whether `time`, next to lead times and no other time, is the valid time of each frame.

        It is if CF attributes say so, or if the lead time changes along the dimension of time.
        """
        if not {"time", "step"} <= values.keys() or values.keys() & {"run", "valid_time"}:
            return False
        if not set(values["step"].dims) <= set(values["time"].dims):
            return False
        time, step = (self._coordinates[role].attrs.get("standard_name") for role in ("time", "step"))
        steps, times = values["step"].values, values["time"].values
        varies = steps.ndim == 1 and steps.size > 1 and bool(np.any(steps != steps[0])) and times.dtype.kind == "M"
        return (time, step) == ("time", "forecast_period") or varies

    def make_record(self, parsed: ParsedArray, index: tuple[int, ...]) -> Record:
        """Return the record at an index of `parsed.dims`."""
        values, at = parsed.values, dict(zip(parsed.dims, index, strict=True))
        run, step, valid_time = combine_times({role: values[role].at(at) for role in TIME_ROLES if role in values})
        member = values["member"].at(at) if "member" in values else None
        statistic = statistic_called(values["statistic"].at(at)) if "statistic" in values else self._statistic
        version = values["version"].at(at) if "version" in values else self._version
        return Record(
            source=self._source,
            variable=self._variable.name,
            level=self._level(values, at),
            valid_time=valid_time,
            run=run,
            step=step,
            member=member,
            data_type=self._data_type(step),
            statistic=statistic,
            version=str(version),
            points=parsed.points,
            read=partial(parsed.field.read, index),
            notes=self._notes,
            unit=str(self._array.attrs.get("units", "")),
        )

    def _find_coordinates(self) -> Iterator[tuple[Role, xr.DataArray]]:
        """Yield each role with the coordinate that has it: of a dimension, else a scalar or auxiliary one.

        A clear name or attribute goes before an axis or a name such as `x`.
        """
        named = [*self._array.dims, *self._array.coords, *str(self._array.attrs.get("coordinates", "")).split()]
        named += [name for name in ("valid_time", "datetime", "expver", "number") if name in self._dataset.variables]
        seen = set[Role]()
        variables = self._dataset.variables
        for name in sorted(
            dict.fromkeys(map(str, named)), key=lambda name: name in variables and is_weak(name, variables[name].attrs)
        ):
            if name not in self._dataset.variables:
                role = role_of(name, {})
                if role == "member" and role not in seen:  # members without labels are numbered
                    seen.add(role)
                    size = self._array.sizes[name]
                    yield role, xr.DataArray(np.arange(size), dims=name, name=name)
                continue
            coordinate = self._dataset[name]
            role = role_of(name, coordinate.attrs)
            fits = set(coordinate.dims) <= set(self._array.dims)
            if role != "extra" and role not in seen and fits:
                seen.add(role)
                yield role, coordinate

    def _horizontal(self, role: Role) -> xr.DataArray:
        """Return the latitudes of rows or the longitudes of columns, also those written for each point of a grid."""
        coordinate = self._coordinates.get(role)
        grid = describe_grid(self._dataset, self._array)
        if coordinate is not None and coordinate.ndim == 2 and grid is None:
            coordinate = _separate(coordinate)
        if coordinate is not None and coordinate.ndim == 1 and grid is None:
            other = self._coordinates.get("longitude" if role == "latitude" else "latitude")
            if other is None or other.dims != coordinate.dims or other.ndim == 2:
                return coordinate
            grid = f"a list of {coordinate.size} points"
        found = "no such coordinate" if coordinate is None else f"a curvilinear grid of shape {coordinate.shape}"
        raise FieldError(
            f"`{self._array.name}` must have a one-dimensional `{role}` coordinate, of a regular or Gaussian "
            f"latitude–longitude grid. Got: {grid or found}; its dimensions are {tuple(map(str, self._array.dims))}. "
            "Interpolate it first, for example with `cdo remapbil`."
        )

    def _require_known_dimensions(self) -> None:
        known = {str(dim) for coordinate in self._coordinates.values() for dim in coordinate.dims}
        sizes = {str(dim): self._array.sizes[dim] for dim in self._array.dims}
        extra = [dim for dim, size in sizes.items() if dim not in known and size > 1 and role_of(dim, {}) != "time"]
        empty = [dim for dim, size in sizes.items() if size == 0]
        name = self._variable.name
        if extra:
            raise FieldError(f"`{name}` must have dimensions time, latitude, longitude. Got also: {', '.join(extra)}.")
        if empty:
            raise FieldError(f"`{name}` has no frame: its dimension `{empty[0]}` has no entry.")

    def _values_of(self, role: Role) -> "CoordinateValues":
        coordinate = self._coordinates[role]
        if role in ("time", "valid_time", "run"):
            return CoordinateValues(coordinate.dims, decode_times(coordinate))
        if role == "step":
            return CoordinateValues(coordinate.dims, decode_steps(coordinate))
        if role == "version":
            return CoordinateValues(coordinate.dims, decode_versions(coordinate))
        if role == "member":
            return CoordinateValues(coordinate.dims, decode_members(coordinate))
        return CoordinateValues(coordinate.dims, coordinate.values)

    def _level(self, values: Mapping[Role, "CoordinateValues"], at: Mapping[str, int]) -> Level:
        for role in ("height", "pressure", "level"):
            if role not in values:
                continue
            value, kind = values[role].at(at), role
            if isinstance(value, (str, bytes)):
                return level_called(value)
            value = float(value)
            if role == "pressure":
                value *= pressure_factor(str(self._coordinates[role].attrs.get("units", "")))
            if role == "level" and value == self._variable.height_m:
                kind = "height"
            if not np.isnan(value):
                return Level("model level" if kind == "level" and value not in (0.0, 1.0) else kind, value)
        return Level()

    def _find_scaling(self) -> tuple[float, float]:
        """Return factor and offset to the canonical unit; a unit that only the archive's convention states is noted."""
        units, canonical = str(self._array.attrs.get("units", "")), self._variable.units
        scaling = conversion(units, canonical)
        assumed = None if units else assumed_units(self._array, canonical)
        if assumed is not None:
            scaling = conversion(assumed[0], canonical)
            self._notes = (f"`{self._array.name}` has no `units`; {assumed[1]}",)
        if scaling is None:
            raise FieldError(
                f"`{self._variable.name}` must have `units` such as {', '.join(accepted_units(canonical))}. "
                f"Got: {self._array.attrs.get('units', 'no units')!r}."
            )
        return scaling

    def _data_type(self, step: np.timedelta64 | None) -> str:
        stated = {"an": "analysis", "fc": "forecast", "cf": "forecast", "pf": "forecast"}.get(
            str(self._array.attrs.get("GRIB_dataType", ""))
        )
        return stated or ("forecast" if step is not None and step > np.timedelta64(0, "s") else "")


@dataclass(frozen=True)
class CoordinateValues:
    """Values of a coordinate with its dimensions."""

    dims: tuple[Any, ...]
    values: NDArray[Any]

    def at(self, index: Mapping[str, int]) -> Any:
        """Return the value at the index of each dimension."""
        return self.values[tuple(index[str(dim)] for dim in self.dims)]

    def varies(self, dim: str) -> bool:
        """Return whether the values change along a dimension, or are times of a dimension of size 1."""
        if dim not in self.dims:
            return False
        return self.values.dtype.kind == "M" or bool(np.any(self.values != self.values.take([0], self.dims.index(dim))))

    def along(self, dim: str) -> NDArray[Any]:
        """Return the values along a dimension; the others have size 1."""
        return np.asarray(np.moveaxis(self.values, self.dims.index(dim), -1).reshape(-1))


def _separate(coordinate: xr.DataArray) -> xr.DataArray:
    """Return a coordinate of two dimensions along the one on which alone it depends, if there is one."""
    values = coordinate.values
    for axis, dim in enumerate(coordinate.dims):
        first = values.take([0], axis=axis)
        if np.isfinite(values).all() and np.abs(values - first).max(initial=0.0) < _DEGREES_TOLERANCE:
            return coordinate.isel({dim: 0})
    return coordinate
