"""Read the records of GRIB files, edition 1 and 2, message by message."""

import sqlite3  # noqa: F401  # before eccodes, which loads an older SQLite for the whole process
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import eccodes
import numpy as np
from numpy.typing import NDArray

from weather.readers.points import Points, PointsError
from weather.readers.records import Contents, Level, Record, Statistic
from weather.variables import KNOWN, Variable

_GRIDS = {
    "lambert": "a Lambert projection",
    "polar_stereographic": "a polar stereographic projection",
    "mercator": "a Mercator projection",
    "reduced_ll": "a reduced latitude–longitude grid",
    "rotated_ll": "a rotated latitude–longitude grid",
    "rotated_gg": "a rotated Gaussian grid",
    "unstructured_grid": "an unstructured grid, such as ICON's",
    "healpix": "a HEALPix grid",
    "sh": "spherical harmonics",
    "space_view": "a satellite projection",
}
_STATISTICS = {
    "avg": Statistic.MEAN,
    "avgd": Statistic.MEAN,
    "avgua": Statistic.MEAN,
    "max": Statistic.EXTREME,
    "min": Statistic.EXTREME,
    "accum": Statistic.ACCUMULATION,
    "diff": Statistic.ACCUMULATION,
}
_SPREADS, _MEANS = {2, 3, 4}, {0, 1, 6}
"""Codes of GRIB 2's table 4.7 (derived forecasts)."""
_PROBABILITIES = {5, 6, 9, 10}
"""Templates of GRIB 2's table 4.0 for probabilities and percentiles."""
_AT_LEVEL = {131: 165, 132: 166, 130: 167}
"""Parameters of wind and temperature at a level, and those of the variables at 10 m and 2 m."""
_LEVELS = {
    "heightAboveGround": "height",
    "isobaricInhPa": "pressure",
    "isobaricInPa": "pressure",
    "hybrid": "model level",
    "sigma": "model level",
    "surface": "surface",
    "meanSea": "mean sea level",
}


_DECODING = threading.Lock()
"""Held while a field is decoded: the support of several fields a message is a setting of the whole process."""


@dataclass(frozen=True)
class _Place:
    """Where a field is in its file: offset of the message in bytes, and its index among the message's fields."""

    path: Path
    offset: int
    index: int


def read_grib(path: Path, source: str, variables: Sequence[str]) -> Contents:
    """Return the records of `variables` in a GRIB file, and what else it has; values are decoded when they are read.

    Bytes before and between messages, such as WMO headers, are skipped. Fields on grids that are not regular or not
    global are problems. Raises what ecCodes raises for damaged messages.
    """
    wanted = {KNOWN[name].param_id: KNOWN[name] for name in variables}
    records, problems, others = list[Record](), dict[str, None](), _Names()
    grids = dict[tuple[Any, ...], Points | None]()
    with path.open("rb") as file:
        for place, handle in _fields(path, file):
            param_id = _get_integer(handle, "paramId", 0)
            variable = wanted.get(param_id) or _by_level(handle, param_id, wanted)
            if variable is None:
                others.add(handle, param_id)
            else:
                key = _grid_key(handle)
                if key not in grids:
                    grids[key] = _points(handle, problems)
                points = grids[key]
                if points is not None:
                    records.append(_record(handle, source, variable, points, place))
    return Contents(records, list(problems), list(others.names))


class _Names:
    """Names of fields with their levels; each is looked up once for all fields of equal codes: ecCodes takes long."""

    def __init__(self) -> None:
        self._parameters, self._levels = dict[tuple[int, ...], str](), dict[tuple[int, ...], str]()
        self.names = dict[str, None]()

    def add(self, handle: int, param_id: int) -> None:
        """Add the name of a field; an unknown parameter is named by its codes."""
        keys = ("discipline", "parameterCategory", "parameterNumber", "indicatorOfParameter") if not param_id else ()
        parameter = (param_id, *(_get_integer(handle, key, -1) for key in keys))
        edition_2 = _get_integer(handle, "typeOfFirstFixedSurface", -1)
        level = (edition_2, _get_integer(handle, "indicatorOfTypeOfLevel", -1) if edition_2 < 0 else -1)
        if parameter not in self._parameters:
            self._parameters[parameter] = str(_get(handle, "shortName", "?"))
        if level not in self._levels:
            self._levels[level] = str(_get(handle, "typeOfLevel", "?"))
        self.names[f"{self._parameters[parameter]} ({self._levels[level]})"] = None


def _fields(path: Path, file: BinaryIO) -> Iterator[tuple[_Place, int]]:
    """Yield place and header of each field of a file; a message of GRIB 2 may have several."""
    previous, index = -1, 0
    with _multi_field_support(file):
        while (handle := eccodes.codes_grib_new_from_file(file, headers_only=True)) is not None:
            try:
                offset = _get_integer(handle, "offset", 0)
                index = index + 1 if offset == previous else 0
                previous = offset
                yield _Place(path, offset, index), handle
            finally:
                eccodes.codes_release(handle)


@contextmanager
def _multi_field_support(file: BinaryIO) -> Iterator[None]:
    eccodes.codes_grib_multi_support_on()
    eccodes.codes_grib_multi_support_reset_file(file)
    try:
        yield
    finally:
        eccodes.codes_grib_multi_support_reset_file(file)
        eccodes.codes_grib_multi_support_off()


def _record(handle: int, source: str, variable: Variable, points: Points, place: _Place) -> Record:
    run = _time(handle, "dataDate", "dataTime")
    valid_time = _time(handle, "validityDate", "validityTime")
    kind = str(_get(handle, "typeOfLevel", ""))
    value = float(_get(handle, "level", 0)) / (100 if kind == "isobaricInPa" else 1)
    return Record(
        source=source,
        variable=variable.name,
        level=Level(_LEVELS.get(kind, kind), value),
        valid_time=valid_time,
        run=run,
        step=None if np.isnat(run) else valid_time - run,
        member=_member(handle),
        data_type={"an": "analysis", "fc": "forecast", "cf": "forecast", "pf": "forecast"}.get(
            str(_get(handle, "dataType", "")), ""
        ),
        statistic=_statistic(handle),
        version=str(_get(handle, "experimentVersionNumber", "")),
        points=points,
        read=partial(_read_values, place, points),
        unit=str(_get(handle, "units", "")),
    )


def _member(handle: int) -> int | None:
    """Return the number of a member of an ensemble, or None for a single analysis or forecast.

    GRIB 1 has no mark for members but their number and that of all members, in the local section.
    """
    number = _get(handle, "number", None)
    if number is None:
        return None
    is_marked = _get(handle, "eps", 0) == 1 or _get(handle, "dataType", "") in ("cf", "pf")
    counts = (number, _get(handle, "numberOfForecastsInEnsemble", 0))
    return int(number) if is_marked or any(int(count) > 0 for count in counts) else None


def _statistic(handle: int) -> Statistic:
    derived, data_type = _get(handle, "derivedForecast", None), _get(handle, "dataType", "")
    if derived in _SPREADS or data_type in ("es", "ses"):
        return Statistic.SPREAD
    if _get(handle, "productDefinitionTemplateNumber", 0) in _PROBABILITIES or data_type in (
        "ep",
        "pb",
        "cd",
        "efi",
        "sot",
    ):
        return Statistic.QUANTILE
    if (derived is not None and derived in _MEANS) or data_type in ("em", "tem"):
        return Statistic.ENSEMBLE_MEAN
    return _STATISTICS.get(str(_get(handle, "stepType", "instant")), Statistic.INSTANT)


def _by_level(handle: int, param_id: int, wanted: dict[int, Variable]) -> Variable | None:
    """Return the wanted variable at a height that is coded as wind or temperature at a level of that height."""
    variable = wanted.get(_AT_LEVEL.get(param_id, 0))
    if variable is None:
        return None
    at_height = _get(handle, "typeOfLevel", "") == "heightAboveGround"
    return variable if at_height and float(_get(handle, "level", 0)) == variable.height_m else None


def _grid_key(handle: int) -> tuple[Any, ...]:
    names = (
        "md5GridSection",
        "gridType",
        "numberOfPoints",
        "Ni",
        "Nj",
        "latitudeOfFirstGridPoint",
        "longitudeOfFirstGridPoint",
        "latitudeOfLastGridPoint",
        "longitudeOfLastGridPoint",
        "scanningMode",
    )
    return tuple(_get(handle, name, None) for name in names)


def _points(handle: int, problems: dict[str, None]) -> Points | None:
    """Return the points of a field, or None and a problem unless they are a global grid of rows of one latitude."""
    kind = str(_get(handle, "gridType", "unknown"))
    try:
        if kind in ("regular_ll", "regular_gg"):
            return Points.of(*_coordinates(handle, kind))
        if kind == "reduced_gg":
            columns = int(eccodes.codes_get_array(handle, "pl").max())
            return Points.of(_gaussian_latitudes(handle), np.arange(columns) * 360.0 / columns)
    except PointsError as error:
        problems[str(error)] = None
        return None
    problems[
        f"The fields must be on a regular or Gaussian latitude–longitude grid. Got: {_GRIDS.get(kind, kind)}. "
        "Interpolate them first, for example with `cdo remapbil` or by the grid option of the archive."
    ] = None
    return None


def _coordinates(handle: int, kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return latitude of each row and longitude of each column, in the order in which the values are arranged."""
    columns, rows = int(_get(handle, "Ni", 0)), int(_get(handle, "Nj", 0))
    first, last = (float(_get(handle, f"longitudeOf{end}GridPointInDegrees", 0.0)) for end in ("First", "Last"))
    direction = -1 if _get(handle, "iScansNegatively", 0) else 1
    width = (direction * (last - first)) % 360.0 or 360.0
    longitude = first + direction * np.arange(columns) * width / max(columns - 1, 1)
    if kind == "regular_gg":
        return _gaussian_latitudes(handle), longitude
    ends = [float(_get(handle, f"latitudeOf{end}GridPointInDegrees", 0.0)) for end in ("First", "Last")]
    return np.linspace(ends[0], ends[1], rows), longitude


def _gaussian_latitudes(handle: int) -> NDArray[np.float64]:
    latitudes: NDArray[np.float64] = np.sort(eccodes.codes_get_array(handle, "distinctLatitudes"))
    return latitudes if _get(handle, "jScansPositively", 0) else latitudes[::-1]


def _read_values(place: _Place, points: Points) -> NDArray[np.float32]:
    """Decode a field and return it on its canonical grid; missing values are NaN.

    ecCodes gives values in the unit of ECMWF's parameter, which is the canonical one.
    """
    with _DECODING, place.path.open("rb") as file:
        file.seek(place.offset)
        with _multi_field_support(file):
            for _ in range(place.index):
                eccodes.codes_release(eccodes.codes_grib_new_from_file(file))
            handle = eccodes.codes_grib_new_from_file(file)
        if handle is None:
            raise EOFError(f"There is no message at byte {place.offset}.")
        try:
            values = _decode(handle)
        finally:
            eccodes.codes_release(handle)
    return points.arrange(values).astype(np.float32)


def _decode(handle: int) -> NDArray[np.float64]:
    """Return the values (row, column) in the order of the coordinates."""
    missing = -1e300
    eccodes.codes_set(handle, "missingValue", missing)
    values: NDArray[np.float64] = eccodes.codes_get_values(handle)
    values = np.where(values == missing, np.nan, values)
    if _get(handle, "gridType", "") == "reduced_gg":
        return _interpolate_rows(values, eccodes.codes_get_array(handle, "pl"))
    columns, rows = int(_get(handle, "Ni", 0)), int(_get(handle, "Nj", 0))
    if values.size != rows * columns:
        raise ValueError(f"{values.size} values on {rows} × {columns} points")
    by_columns = bool(_get(handle, "jPointsAreConsecutive", 0))
    table = values.reshape((columns, rows) if by_columns else (rows, columns)).copy()
    if _get(handle, "alternativeRowScanning", 0):
        table[1::2] = table[1::2, ::-1]
    return table.T if by_columns else table


def _interpolate_rows(values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the rows of a reduced grid, which start at longitude 0, interpolated linearly to the longest of them."""
    columns = int(lengths.max())
    longitude = np.arange(columns) / columns
    rows, start = [], 0
    for length in map(int, lengths):
        row = values[start : start + length]
        rows.append(np.interp(longitude, np.arange(length + 1) / length, np.append(row, row[:1])))
        start += length
    if start != values.size:
        raise ValueError(f"{values.size} values on rows of {start} points")
    return np.stack(rows)


def _time(handle: int, date_key: str, time_key: str) -> np.datetime64:
    date, time = _get(handle, date_key, None), int(_get(handle, time_key, 0))
    if date is None:
        return np.datetime64("NaT", "s")
    text = f"{int(date):08d}"
    try:
        return np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:]}T{time // 100:02d}:{time % 100:02d}", "s")
    except ValueError:
        return np.datetime64("NaT", "s")


def _get_integer(handle: int, key: str, default: int) -> int:
    """Return the value of an integer key, or `default`: much faster than `_get` for keys that are looked up."""
    try:
        return int(eccodes.codes_get_long(handle, key))
    except eccodes.KeyValueNotFoundError:
        return default


def _has(handle: int, key: str) -> bool:
    return bool(eccodes.codes_is_defined(handle, key))


def _get(handle: int, key: str, default: Any) -> Any:
    """Return the value of a key, or `default` if the message has no such key."""
    return eccodes.codes_get(handle, key) if _has(handle, key) else default
