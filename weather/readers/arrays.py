"""Read the records of NetCDF files and Zarr stores: every field of the requested variables, found by CF and names."""

import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.readers.conventions import Role, assumed_units, pressure_factor, role_of, statistic_text
from weather.readers.points import Points, PointsError
from weather.readers.records import Contents, Level, Record, Statistic
from weather.variables import KNOWN, Variable, accepted_units, conversion

_STATISTICS: tuple[tuple[str, Statistic], ...] = (
    (
        r"realization: (standard_deviation|variance)|type:s?es\b|name:.*(spread|standard deviation)|_(spread|std)\b",
        Statistic.SPREAD,
    ),
    (r"realization: mean|type:t?em\b", Statistic.ENSEMBLE_MEAN),
    (r"time: (maximum|minimum)|step:(max|min)", Statistic.EXTREME),
    (r"time: sum|step:accum", Statistic.ACCUMULATION),
    (r"time: mean|step:avg|collection:", Statistic.MEAN),
)
_BLOCK_BYTES = 64_000_000

T = TypeVar("T")
_NAT = np.datetime64("NaT", "s")


class FieldError(ValueError):
    """A field of a file cannot be understood; the message is a sentence that names it."""


def read_arrays(dataset: xr.Dataset, source: str, variables: Sequence[str]) -> Contents:
    """Return the records of `variables` in a dataset that was opened without decoded times, and its other names.

    Only the coordinates of the requested variables are decoded. What cannot be understood is a problem.
    """
    records, problems, used = list[Record](), dict[str, None](), set[str]()
    for name in variables:
        for array in find_arrays(dataset, KNOWN[name]):
            used.add(str(array.name))
            reader = _ArrayReader(dataset, array, KNOWN[name], source)
            records.extend(reader.records())
            problems.update(dict.fromkeys(reader.problems))
    return Contents(records, list(problems), [str(name) for name in dataset.data_vars if name not in used])


def find_arrays(dataset: xr.Dataset, variable: Variable) -> list[xr.DataArray]:
    """Return the arrays of `variable`: by name or GRIB number, else those of its CF standard name at a height."""
    named = [
        array
        for name, array in dataset.data_vars.items()
        if _plain_name(str(name)) in variable.aliases or array.attrs.get("GRIB_paramId") == variable.param_id
    ]
    if named:
        return named
    return [
        array
        for array in dataset.data_vars.values()
        if array.attrs.get("standard_name") == variable.standard_name and _has_height(array, dataset)
    ]


def _plain_name(name: str) -> str:
    """Return a name in small letters, without the prefix of RDA's files."""
    return name.casefold().removeprefix("var_")


def _has_height(array: xr.DataArray, dataset: xr.Dataset) -> bool:
    names = (*array.dims, *array.coords, *str(array.attrs.get("coordinates", "")).split())
    return any(role_of(str(name), dataset[name].attrs) == "height" for name in names if name in dataset.variables)


class _ArrayReader:
    """Reads the records of one array."""

    def __init__(self, dataset: xr.Dataset, array: xr.DataArray, variable: Variable, source: str) -> None:
        self._dataset, self._array, self._variable, self._source = dataset, array, variable, source
        self.problems = list[str]()
        self._coordinates = dict(self._find_coordinates())
        self._statistic = self._find_statistic()
        self._version = str(array.attrs.get("GRIB_experimentVersionNumber", ""))
        self._notes: tuple[str, ...] = ()

    def records(self) -> list[Record]:
        """Return the records of every time, step, member, level and version; none if there are `problems`."""
        scaling = self._check(self._find_scaling)
        points = self._check(self._find_points)
        self._check(self._require_known_dimensions)
        values = self._check(self._decode_coordinates)
        if self.problems or scaling is None or points is None or values is None:
            return []
        row_dim, column_dim = (str(self._coordinates[role].dims[0]) for role in ("latitude", "longitude"))
        others = [str(dim) for dim in self._array.dims if dim not in (row_dim, column_dim)]
        field = _Field(self._array.transpose(*others, row_dim, column_dim), points, scaling)
        indices = itertools.product(*(range(self._array.sizes[dim]) for dim in others))
        return [
            self._record(values, dict(zip(others, index, strict=True)), points, partial(field.read, index))
            for index in indices
        ]

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

    def _decode_coordinates(self) -> dict[Role, "_Values"]:
        if not any(role in self._coordinates for role in _TIME_ROLES):
            raise FieldError(
                f"`{self._variable.name}` must have a `time` coordinate that gives the valid time of each frame."
            )
        return {role: self._values_of(role) for role in self._coordinates if role not in ("latitude", "longitude")}

    def _record(self, values: Mapping[Role, "_Values"], at: Mapping[str, int], points: Points, read: Any) -> Record:
        run, step, valid_time = _times({role: values[role].at(at) for role in _TIME_ROLES if role in values})
        member = values["member"].at(at) if "member" in values else None
        version = values["version"].at(at) if "version" in values else self._version
        return Record(
            source=self._source,
            variable=self._variable.name,
            level=self._level(values, at),
            valid_time=valid_time,
            run=run,
            step=step,
            member=None if member is None else int(member),
            data_type=self._data_type(step),
            statistic=self._statistic,
            version=str(version),
            points=points,
            read=read,
            notes=self._notes,
        )

    def _find_coordinates(self) -> Iterator[tuple[Role, xr.DataArray]]:
        """Yield each role with the coordinate that has it: of a dimension, else a scalar or auxiliary one."""
        named = [*self._array.dims, *self._array.coords, *str(self._array.attrs.get("coordinates", "")).split()]
        named += [name for name in ("valid_time", "datetime", "expver", "number") if name in self._dataset.variables]
        seen = set[Role]()
        for name in dict.fromkeys(map(str, named)):
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
        coordinate = self._coordinates.get(role)
        if coordinate is None or coordinate.ndim != 1:
            found = "none" if coordinate is None else f"one of shape {coordinate.shape}, of a grid that is not regular"
            raise FieldError(
                f"`{self._array.name}` must have a one-dimensional `{role}` coordinate, of a regular or Gaussian "
                f"latitude–longitude grid. Got: {found}; its dimensions are {tuple(map(str, self._array.dims))}."
            )
        return coordinate

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

    def _values_of(self, role: Role) -> "_Values":
        coordinate = self._coordinates[role]
        if role in ("time", "valid_time", "run"):
            return _Values(coordinate.dims, _decode_times(coordinate))
        if role == "step":
            return _Values(coordinate.dims, _decode_steps(coordinate))
        if role == "version":
            return _Values(coordinate.dims, coordinate.values.astype(str))
        return _Values(coordinate.dims, coordinate.values)

    def _level(self, values: Mapping[Role, "_Values"], at: Mapping[str, int]) -> Level:
        for role, kind in (("height", "height"), ("pressure", "pressure"), ("level", "level")):
            if role in values:
                value = float(values[role].at(at))
                units = str(self._coordinates[role].attrs.get("units", ""))
                if role == "pressure":
                    value *= pressure_factor(units)
                if role == "level" and value == self._variable.height_m:
                    kind = "height"
                return Level("model level" if kind == "level" and value not in (0.0, 1.0) else kind, value)
        return Level()

    def _find_scaling(self) -> tuple[float, float]:
        """Return factor and offset to the canonical unit; a unit that only the archive's convention states is noted."""
        units = str(self._array.attrs.get("units", ""))
        scaling = conversion(units, self._variable.units)
        assumed = None if units else assumed_units(self._array)
        if assumed is not None:
            scaling = conversion(assumed, self._variable.units)
            self._notes = (f"`{self._array.name}` has no `units`; its name says {assumed}.",)
        if scaling is None:
            raise FieldError(
                f"`{self._variable.name}` must have `units` {' or '.join(accepted_units(self._variable.units))}. "
                f"Got: {self._array.attrs.get('units', 'no units')!r}."
            )
        return scaling

    def _find_statistic(self) -> Statistic:
        text = statistic_text(self._array, self._dataset.attrs)
        return next((kind for pattern, kind in _STATISTICS if re.search(pattern, text)), Statistic.INSTANT)

    def _data_type(self, step: np.timedelta64 | None) -> str:
        stated = {"an": "analysis", "fc": "forecast", "cf": "forecast", "pf": "forecast"}.get(
            str(self._array.attrs.get("GRIB_dataType", ""))
        )
        return stated or ("forecast" if step is not None and step > np.timedelta64(0, "s") else "")


@dataclass(frozen=True)
class _Values:
    """Values of a coordinate with its dimensions."""

    dims: tuple[Any, ...]
    values: NDArray[Any]

    def at(self, index: Mapping[str, int]) -> Any:
        """Return the value at the index of each dimension."""
        return self.values[tuple(index[str(dim)] for dim in self.dims)]


_TIME_ROLES = ("time", "valid_time", "run", "step")


def _times(
    parts: Mapping[Role, Any],
) -> tuple[np.datetime64 | None, np.timedelta64 | None, np.datetime64]:
    """Return run, step and valid time of a record from those that its file gives; the valid time may be NaT.

    `time` is the valid time, unless there is a step and no other time of the run: then it is that time. Offsets from an
    unknown time give none.
    """
    run, step, valid, time = (parts.get(role) for role in ("run", "step", "valid_time", "time"))
    if isinstance(time, np.timedelta64):
        time = None
    if step is not None and run is None and time is not None:
        run = time
    if valid is None:
        valid = run + step if run is not None and step is not None else time if time is not None else run
    if valid is None or np.isnat(valid):
        return None, None, _NAT
    if run is None and step is not None:
        run = valid - step
    if run is not None and step is None:
        step = valid - run
    return run, step, _to_minute(valid)


def _to_minute(time: np.datetime64) -> np.datetime64:
    """Return a time rounded to the minute: days as floating-point numbers are off by seconds."""
    seconds = time.astype("datetime64[s]").astype(np.int64)
    return np.datetime64(int((seconds + 30) // 60 * 60), "s")


def _decode_times(coordinate: xr.DataArray) -> NDArray[Any]:
    """Return times of a coordinate with CF units as datetime64, or offsets as timedelta64."""
    if coordinate.dtype.kind == "M":
        return coordinate.values.astype("datetime64[s]")
    units = str(coordinate.attrs.get("units", ""))
    if coordinate.dtype.kind == "m" or (units and " since " not in units):
        return _decode_steps(coordinate)
    variable = xr.Variable(coordinate.dims, coordinate.values, _time_attributes(coordinate.attrs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dates beyond nanoseconds are accepted
        decoded = xr.decode_cf(xr.Dataset({"t": variable}), decode_timedelta=False)["t"]
    if decoded.dtype.kind != "M":
        calendar = getattr(next(iter(decoded.values.reshape(-1)), None), "calendar", None)
        if calendar in ("standard", "gregorian", "proleptic_gregorian"):
            return np.array([_from_cftime(time) for time in decoded.values.reshape(-1)]).reshape(decoded.shape)
        got = f"calendar {calendar}" if calendar else f"values of type {coordinate.dtype}"
        raise FieldError(f"Times must be of the standard (Gregorian) calendar, with CF units. Got: {got}.")
    return decoded.values.astype("datetime64[s]")


def _from_cftime(time: Any) -> np.datetime64:
    return np.datetime64(
        f"{time.year:04d}-{time.month:02d}-{time.day:02d}T{time.hour:02d}:{time.minute:02d}:{time.second:02d}", "s"
    )


def _time_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: attributes[key] for key in ("units", "calendar") if key in attributes}
    if "units" in kept:
        kept["units"] = re.sub(r"since (\d)-(\d+)-(\d+)", r"since 000\1-\2-\3", str(kept["units"]))
    return kept


_STEP_UNITS = {
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
    "m": 60,
    "min": 60,
    "minute": 60,
    "s": 1,
    "sec": 1,
    "second": 1,
    "ns": 1e-9,
    "nanosecond": 1e-9,
}


def _decode_steps(coordinate: xr.DataArray) -> NDArray[Any]:
    """Return lead times as timedelta64; numbers without a unit are hours."""
    values = coordinate.values
    if values.dtype.kind == "m":
        return values.astype("timedelta64[s]")
    unit = (
        str(coordinate.attrs.get("units", "hours")).split()[0].casefold()
        if coordinate.attrs.get("units", "hours")
        else "hours"
    )
    seconds = _STEP_UNITS.get(unit, _STEP_UNITS.get(unit.rstrip("s")))
    if seconds is None or values.dtype.kind not in "iuf":
        raise FieldError(f"`{coordinate.name}` must be lead times in hours, days or seconds. Got: {unit!r}.")
    return np.round(values.astype(np.float64) * seconds).astype("timedelta64[s]")


class _Field:
    """Values of an array (…, row, column), decoded when they are read.

    Frames that are read one after another are decoded in blocks: data sets are often compressed over many times.
    """

    def __init__(self, array: xr.DataArray, points: Points, scaling: tuple[float, float]) -> None:
        self._array, self._points, self._scaling = array, points, scaling
        self._block, self._start, self._last = np.empty((0, 0, 0), np.float32), 0, -2

    def read(self, index: tuple[int, ...]) -> NDArray[np.float32]:
        """Return one field on its canonical grid, in the canonical unit; missing values are NaN."""
        values = self._read_frame(index[0]) if len(index) == 1 else self._array[index].values
        factor, offset = self._scaling
        if self._scaling != (1.0, 0.0):
            values = values.astype(np.float64) * factor + offset
        return self._points.arrange(values).astype(np.float32)

    def _read_frame(self, index: int) -> NDArray[Any]:
        if not self._start <= index < self._start + len(self._block):
            frame_bytes = 8 * self._array[0].size
            count = max(1, _BLOCK_BYTES // frame_bytes) if index == self._last + 1 else 1
            self._start, self._block = index, self._array[index : index + count].values
        self._last = index
        frame: NDArray[Any] = self._block[index - self._start]
        return frame
