"""`warmcast bench reading`: time to read frames of weather from a large GRIB file, compared with ecCodes alone."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
from numpy.typing import NDArray

from benchmarks.measurement import publish_results, shortest_seconds_of_each
from weather.errors import InitialStateError
from weather.readers.series import open_series

_WIND = ("u10", "v10")
_PARAM_IDS = (165, 166)
_TIMES = ((20180914, 1800), (20180915, 0))
_OTHERS = ("t", "u", "v", "r", "gh", "w", "q", "clwc", "o3", "absv", "pv")


def bench_reading(*, json: Path | None, tiny: bool) -> dict[str, Any]:
    """Time the reading of two frames of 10 m wind from a GRIB 2 file of 742 messages on 721 × 1440 points.

    Ratio: our time over that of ecCodes for one scan, in which it finds the parameter of each message, and decoding the
    four messages that are used. `tiny` makes everything small for tests; its results mean nothing.
    """
    rows, columns, messages = (19, 36, 20) if tiny else (721, 1440, 742)
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        path = Path(folder) / "forecast.grib2"
        with path.open("wb") as file:
            for message in make_messages(rows, columns, messages):
                file.write(message)
        works = {
            "warmcast": partial(read_frames, path),
            "ecCodes": partial(scan_and_decode, path),
            "ecCodes, headers alone": partial(scan, path),
        }
        seconds = shortest_seconds_of_each(works, repeats=2 if tiny else 5)
        megabytes = path.stat().st_size / 1e6
    ratios = {"reading_ratio": seconds["warmcast"] / seconds["ecCodes"]}
    rows_of_table = [{"frames read by": name, "seconds": value} for name, value in seconds.items()]
    title = f"Two frames of wind from {messages} messages of {rows} × {columns} points, {megabytes:.0f} MB"
    return publish_results(title, rows_of_table, ratios, json)


def read_frames(path: Path) -> Any:
    """Return the two newest frames of 10 m wind, as a forecast reads them before it regrids them."""
    with open_series([str(path)], _WIND, partial(InitialStateError, path.name)) as series:
        newest = series.newest_time()
        return series.load([newest - np.timedelta64(6, "h"), newest]).fields


def scan_and_decode(path: Path) -> list[Any]:
    """Return the values of 10 m wind, by ecCodes alone: all headers are read, and the used messages decoded."""
    values = []
    offsets = scan(path)
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            handle = eccodes.codes_grib_new_from_file(file)
            values.append(eccodes.codes_get_values(handle))
            eccodes.codes_release(handle)
    return values


def scan(path: Path) -> list[int]:
    """Return the byte offsets of the messages in a GRIB file that hold a component of 10 m wind, by ecCodes alone."""
    offsets = []
    with path.open("rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file, headers_only=True)) is not None:
            if eccodes.codes_get_long(handle, "paramId") in _PARAM_IDS:
                offsets.append(eccodes.codes_get_long(handle, "offset"))
            eccodes.codes_release(handle)
    return offsets


def make_messages(rows: int, columns: int, count: int) -> Iterator[bytes]:
    """Yield `count` messages as a global model writes them: many levels and variables of two times, and 10 m wind."""
    handle = _make_sample(rows, columns)
    draw = np.random.default_rng(0)
    latitude, longitude = np.linspace(-3, 3, rows)[:, None], np.linspace(0, 2 * np.pi, columns, endpoint=False)
    waves = [10 * np.sin(latitude + phase) * np.cos(3 * longitude + phase) for phase in range(4)]
    fields = [wave + 0.3 * draw.normal(size=(rows, columns)) for wave in waves]
    try:
        for index in range(count - 2 * len(_TIMES)):
            name = _OTHERS[index // len(_TIMES) % len(_OTHERS)]
            level = 10 * (index // (len(_TIMES) * len(_OTHERS)) + 1)
            if index % 50 == 0:
                _pack(handle, fields[index // 50 % len(fields)])
            yield _make_message(handle, index % len(_TIMES), typeOfLevel="isobaricInhPa", level=level, shortName=name)
        for index, values in enumerate(fields):
            _pack(handle, values)
            yield _make_message(handle, index % len(_TIMES), shortName=("10u", "10v")[index // len(_TIMES)])
    finally:
        eccodes.codes_release(handle)


def _make_sample(rows: int, columns: int) -> int:
    """Return the ecCodes handle of a message on a global grid with poles, in the packing of NCEP's files.

    Rows run from 90° N southward, columns from 0° eastward. The caller releases the handle.
    """
    handle: int = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
    step = 360.0 / columns
    keys = {
        "Ni": columns,
        "Nj": rows,
        "latitudeOfFirstGridPointInDegrees": 90.0,
        "latitudeOfLastGridPointInDegrees": -90.0,
        "longitudeOfFirstGridPointInDegrees": 0.0,
        "longitudeOfLastGridPointInDegrees": 360.0 - step,
        "iDirectionIncrementInDegrees": step,
        "jDirectionIncrementInDegrees": 180.0 / (rows - 1),
    }
    for key, value in keys.items():
        eccodes.codes_set(handle, key, value)
    _pack(handle, np.linspace(-20, 20, rows * columns))
    eccodes.codes_set(handle, "packingType", "grid_complex_spatial_differencing")
    return handle


def _pack(handle: int, values: NDArray[np.float64]) -> None:
    """Set the values of a message (latitude, longitude), each in 12 bits.

    ecCodes may lower `bitsPerValue`, so it is set every time.
    """
    eccodes.codes_set(handle, "bitsPerValue", 12)
    eccodes.codes_set_values(handle, values.ravel())


def _make_message(handle: int, time_index: int, **keys: object) -> bytes:
    clone = eccodes.codes_clone(handle)
    date, time = _TIMES[time_index]
    for key, value in {"dataDate": date, "dataTime": time, **keys}.items():
        eccodes.codes_set(clone, key, value)
    message: bytes = eccodes.codes_get_message(clone)
    eccodes.codes_release(clone)
    return message
