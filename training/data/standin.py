"""Make a store with the layout of WeatherBench 2's published ERA5 and invented values, to try a training without it.

`python -m training.data.standin era5.zarr --grid 64x32 --first 2017-12-01 --times 400` writes one.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray

GRIDS = {"240x121": (240, 121), "64x32": (64, 32), "512x256": (512, 256), "1440x721": (1440, 721)}
"""Longitudes and latitudes of the published grids; those with an odd number of latitudes have the poles."""
CHUNK_TIMES = {"240x121": 8, "64x32": 100, "512x256": 8, "1440x721": 1}
VARIABLES = {
    "10m_u_component_of_wind": ("10 metre U wind component", "u10", "m s**-1", 0.0, 5.0),
    "10m_v_component_of_wind": ("10 metre V wind component", "v10", "m s**-1", 0.0, 4.5),
    "2m_temperature": ("2 metre temperature", "t2m", "K", 280.0, 12.0),
    "mean_sea_level_pressure": ("Mean sea level pressure", "msl", "Pa", 101_000.0, 1000.0),
}
"""Long name, short name, unit, mean and standard deviation of each variable."""
STATIC_FIELDS = {
    "angle_of_sub_gridscale_orography": ("Angle of sub-gridscale orography", "anor", "radians"),
    "anisotropy_of_sub_gridscale_orography": ("Anisotropy of sub-gridscale orography", "isor", "~"),
    "geopotential_at_surface": ("Geopotential", "z", "m**2 s**-2"),
    "land_sea_mask": ("Land-sea mask", "lsm", "(0 - 1)"),
    "slope_of_sub_gridscale_orography": ("Slope of sub-gridscale orography", "slor", "~"),
}
_LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
_FIRST = np.datetime64("1959-01-01T00", "h")
_STEP_HOURS = 6
_PART_BYTES = 32 << 20
_WAVES = 6


def make_store(
    path: Path,
    grid: str = "64x32",
    *,
    first: str = "2017-12-01",
    times: int = 400,
    chunk_times: int | None = None,
    variables: Sequence[str] = tuple(VARIABLES),
    seed: int = 0,
) -> None:
    """Write `times` 6-hourly frames from `first`, the static fields, and a variable on levels whose chunks are missing.

    As published: Zarr v2 with consolidated metadata, float32, dimensions (time, longitude, latitude), latitudes from
    south to north, chunks of some times and all points, Blosc. The weather is waves that travel east, with a tenth of
    noise. Values do not depend on the chunks.
    """
    columns, rows = GRIDS[grid]
    longitude, latitude = _coordinates(columns, rows)
    group: Any = zarr.open_group(path, mode="w", zarr_format=2)
    start = int((np.datetime64(first, "h") - _FIRST) / np.timedelta64(1, "h"))
    hours = start + _STEP_HOURS * np.arange(times, dtype=np.int64)
    calendar = {"units": "hours since 1959-01-01", "calendar": "proleptic_gregorian"}
    for name, values, attributes in (
        ("time", hours, calendar),
        ("longitude", longitude, {"units": "degrees_east", "long_name": "longitude"}),
        ("latitude", latitude, {"units": "degrees_north", "long_name": "latitude"}),
        ("level", np.array(_LEVELS, np.int64), {}),
    ):
        _create(group, name, values.shape, values.shape, [name], values.dtype, attributes)[:] = values
    chunk = min(chunk_times or CHUNK_TIMES[grid], times)
    for name in variables:
        long_name, short_name, units, mean, spread = VARIABLES[name]
        attributes = {"long_name": long_name, "short_name": short_name, "units": units}
        dims = ["time", "longitude", "latitude"]
        array = _create(group, name, (times, columns, rows), (chunk, columns, rows), dims, np.float32, attributes)
        for part, fields in _weather(hours, longitude, latitude, chunk, seed + list(VARIABLES).index(name)):
            array[part] = (mean + spread * fields).astype(np.float32)
    draw = np.random.default_rng(seed)
    for name, (long_name, short_name, units) in STATIC_FIELDS.items():
        attributes = {"long_name": long_name, "short_name": short_name, "units": units}
        field = _create(
            group, name, (columns, rows), (columns, rows), ["longitude", "latitude"], np.float32, attributes
        )
        field[:] = draw.random((columns, rows), np.float32)
    shape, chunks = (times, len(_LEVELS), columns, rows), (chunk, len(_LEVELS), columns, rows)
    _create(group, "geopotential", shape, chunks, ["time", "level", "longitude", "latitude"], np.float32, {})
    zarr.consolidate_metadata(path, zarr_format=2)


def _coordinates(columns: int, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitudes from 0° E and latitudes from south to north, degrees; an odd number of rows has the poles."""
    margin = 0.0 if rows % 2 else 90.0 / rows
    latitude = np.linspace(-90 + margin, 90 - margin, rows)
    return np.asarray(np.arange(columns) * (360.0 / columns)), np.asarray(latitude, np.float64)


def _create(
    group: Any,
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dims: list[str],
    dtype: Any,
    attributes: dict[str, str],
) -> Any:
    fill = np.nan if np.dtype(dtype).kind == "f" else None
    return group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=fill,
        compressors=Blosc("lz4", clevel=5),
        attributes={"_ARRAY_DIMENSIONS": dims, **attributes},
    )


def _weather(
    hours: NDArray[np.int64],
    longitude: NDArray[np.float64],
    latitude: NDArray[np.float64],
    chunk: int,
    seed: int,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield fields (time, longitude, latitude) of about unit variance, whole chunks at a time."""
    draw = np.random.default_rng(seed)
    waves, phases = draw.integers(1, 7, _WAVES), draw.uniform(0, 2 * np.pi, _WAVES)
    speeds, heights = draw.uniform(0.01, 0.06, _WAVES), draw.integers(1, 4, _WAVES)
    east, north = np.radians(longitude), np.radians(latitude)
    noise = draw.standard_normal((2 * len(longitude), len(latitude)), np.float32)
    part = max(_PART_BYTES // (8 * len(longitude) * len(latitude)) // chunk, 1) * chunk
    for begin in range(0, len(hours), part):
        some = hours[begin : begin + part]
        total = np.zeros((len(some), len(longitude), len(latitude)), np.float32)
        for wave, phase, speed, height in zip(waves, phases, speeds, heights, strict=True):
            along = np.sin(wave * east + phase - speed * some[:, None]).astype(np.float32)
            total += along[:, :, None] * (np.cos(north) * np.cos(height * north)).astype(np.float32)
        for frame, hour in zip(total, some, strict=True):
            frame += 0.1 * np.roll(noise, int(hour * 7919 % len(noise)), axis=0)[: len(longitude)]
        yield slice(begin, begin + len(some)), total


def main() -> None:
    """Write a store as the arguments of the command line say."""
    parser = argparse.ArgumentParser(description="Write a store with the layout of WeatherBench 2 and invented values.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--grid", choices=GRIDS, default="64x32")
    parser.add_argument("--first", default="2017-12-01", help="first time, such as 2017-12-01")
    parser.add_argument("--times", type=int, default=400, help="number of 6-hourly frames")
    arguments = parser.parse_args()
    make_store(arguments.path, arguments.grid, first=arguments.first, times=arguments.times)


if __name__ == "__main__":
    main()
