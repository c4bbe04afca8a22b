"""The files of a nature run: a NetCDF of each year, and the state from which a start state goes on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from storage.atomic import PARTIAL_SUFFIX, replace_file
from training.nature.states import StartState

PACKING = 0.01
"""Step of the packed winds, in m s-1."""
_CHUNK: Final = 124
"""Frames in a chunk of a file: 31 days."""
_SOURCE = (
    "JCM 3.0.0 (Apache-2.0), SPEEDY physics, T31 with 8 levels, 30-minute steps, climatological boundary data of "
    "SPEEDY (MIT, copyright 2020 Fred Kucharski and Franco Molteni)"
)


@dataclass(frozen=True)
class Surface:
    """Coordinates (degrees, latitudes from south to north), orography (m) and land-sea mask of the planet."""

    latitudes: NDArray[np.float64]
    longitudes: NDArray[np.float64]
    orography: NDArray[np.float32]
    land_sea_mask: NDArray[np.float32]


@dataclass(frozen=True)
class Position:
    """How far a start state has come: `day` days of `year` are done, and their packed winds are kept.

    `winds` is `(component, time, latitude, longitude)`, and `arrays` are those of the model's state at that time.
    """

    year: int
    day: int
    winds: NDArray[np.int16]
    arrays: list[NDArray[Any]]


def year_path(folder: Path, year: int) -> Path:
    """Return the path of the file of a year."""
    return folder / f"nature_{year}.nc"


def state_path(folder: Path, start: StartState) -> Path:
    """Return the path of the file from which a start state goes on."""
    return folder / ".states" / f"{start.first_year}.npz"


def remove_abandoned(folder: Path, start: StartState) -> None:
    """Remove the temporary files that a killed process left; for the only process that writes a start state."""
    for path in (state_path(folder, start), *(year_path(folder, year) for year in start.calendar)):
        for abandoned in path.parent.glob(f".{path.name}.*{PARTIAL_SUFFIX}"):
            abandoned.unlink(missing_ok=True)


def save_position(path: Path, position: Position) -> None:
    """Write a position whole."""
    arrays: dict[str, Any] = {f"array_{index}": array for index, array in enumerate(position.arrays)}
    with replace_file(path) as partial, partial.open("wb") as file:
        np.savez(file, position=[position.year, position.day], winds=position.winds, **arrays)


def read_days_done(path: Path) -> tuple[int, int] | None:
    """Return the year and the number of its days that are done, or nothing if the start state has not begun."""
    if not path.exists():
        return None
    with np.load(path) as file:
        year, day = file["position"].tolist()
    return year, day


def read_position(path: Path) -> Position:
    """Read a position."""
    with np.load(path) as file:
        year, day = file["position"].tolist()
        arrays = [file[name] for name in file.files if name.startswith("array_")]
        return Position(year, day, file["winds"], arrays)


def write_year(path: Path, start: StartState, year: int, winds: NDArray[np.int16], surface: Surface) -> None:
    """Write the file of a year whole: 6-hourly winds from 1 January 06 UTC, packed in 16 bits."""
    steps = np.arange(1, winds.shape[1] + 1, dtype=np.int64) * 6 * 3600
    midnight = (np.datetime64(f"{year}-01-01", "s") - np.datetime64("1970-01-01", "s")).astype(np.int64)
    dimensions = ("time", "latitude", "longitude")
    packing = {"scale_factor": PACKING, "add_offset": 0.0, "_FillValue": np.int16(-(2**15))}
    variables = {
        f"{name}10": (dimensions, packed, {"units": "m/s", "description": f"Near-surface {name}-wind"} | packing)
        for name, packed in zip("uv", winds, strict=True)
    }
    coordinates = {
        "time": ("time", midnight + steps, _axis("T", "time", "seconds since 1970-01-01", "proleptic_gregorian")),
        "latitude": ("latitude", surface.latitudes, _axis("Y", "latitude", "degrees_north")),
        "longitude": ("longitude", surface.longitudes, _axis("X", "longitude", "degrees_east")),
    }
    fields = {"orog": surface.orography, "lsm": surface.land_sea_mask}
    dataset = xr.Dataset(
        variables | {name: (dimensions[1:], values) for name, values in fields.items()},
        coordinates,
        {
            "title": "Year of a simulated planet; not an observation of the Earth",
            "source": _SOURCE,
            "seed": start.seed,
            "first_year_of_start_state": start.first_year,
        },
    )
    chunks = (min(_CHUNK, winds.shape[1]), *winds.shape[2:])
    encoding = {key: {"zlib": True, "complevel": 6, "shuffle": True, "chunksizes": chunks} for key in variables}
    with replace_file(path) as partial:
        dataset.to_netcdf(partial, engine="netcdf4", encoding=encoding)


def _axis(axis: str, name: str, units: str, calendar: str = "") -> dict[str, str]:
    attributes = {"standard_name": name, "long_name": name, "units": units, "axis": axis}
    return attributes | ({"calendar": calendar} if calendar else {})
