"""Small inputs as people have them: one state of waves, as NetCDF, Zarr and GRIB in the forms of many archives."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from models.testing import tiny_spec
from weather.manifest import ModelSpec
from weather.testing import travelling_waves

INIT_TIME = np.datetime64("2018-09-15T00", "s")
GRIB_NAMES = {"u10": "10u", "v10": "10v", "u100": "100u", "u": "u", "v": "v"}
PARAM_IDS = {"u10": 165, "v10": 166}


def state_spec(rows: int = 19, columns: int = 36, *, has_poles: bool = True) -> ModelSpec:
    """Return a specification whose grid is that of `state`, so that nothing is regridded."""
    return tiny_spec(rows, columns, has_poles=has_poles)


def state(
    rows: int = 19, columns: int = 36, *, has_poles: bool = True, frames: int = 2, newest: np.datetime64 = INIT_TIME
) -> xr.Dataset:
    """Return `frames` of 10 m wind, six hours apart up to `newest`: `u10` and `v10` (time, latitude, longitude).

    No two of its rows, columns and frames are alike, so that no other order of them is the same state.
    """
    grid = state_spec(rows, columns, has_poles=has_poles).grid.grid
    times = [newest + np.timedelta64(6 * (frame - frames + 1), "h") for frame in range(frames)]
    waves = travelling_waves(grid, times)
    tilt = 1 + 0.3 * np.sin(np.radians(waves.latitude)).astype(np.float32)
    return map_fields(waves, lambda field: (field * tilt + 2 * tilt).transpose(*field.dims).astype(np.float32))


def map_fields(dataset: xr.Dataset, change: Callable[[xr.DataArray], xr.DataArray]) -> xr.Dataset:
    """Return a data set with each field changed; attributes are kept."""
    return dataset.assign({name: change(array).assign_attrs(array.attrs) for name, array in dataset.items()})


def with_attributes(dataset: xr.Dataset, **attributes: object) -> xr.Dataset:
    """Return a data set with attributes of each field set."""
    return dataset.assign({name: array.assign_attrs(attributes) for name, array in dataset.items()})


def without_units(dataset: xr.Dataset) -> xr.Dataset:
    """Return a data set whose fields have no `units`."""
    return dataset.assign({name: array.drop_attrs() for name, array in dataset.items()})


def write_netcdf(dataset: xr.Dataset, path: Path, **options: Any) -> Path:
    """Write a NetCDF file and return its path."""
    dataset.to_netcdf(path, **options)
    return path


def write_zipped_zarr(dataset: xr.Dataset, path: Path) -> Path:
    """Write a Zarr v3 store into a zip and return its path."""
    with zarr.storage.ZipStore(path, mode="w") as store:
        dataset.to_zarr(store, zarr_format=3, consolidated=False)
    return path


def write_grib(path: Path, messages: Iterable[bytes]) -> Path:
    """Write GRIB messages one after another and return the path."""
    path.write_bytes(b"".join(messages))
    return path


def grib_messages(dataset: xr.Dataset, **options: Any) -> list[bytes]:
    """Return a message for each field and time of a data set (time, latitude, longitude)."""
    return [
        grib_message(array.isel(time=index), **options)
        for index in range(dataset.sizes["time"])
        for array in dataset.data_vars.values()
    ]


def grib_message(
    field: xr.DataArray,
    *,
    edition: int = 2,
    step_hours: int = 0,
    origin: float = 0.0,
    i_negative: bool = False,
    j_positive: bool = False,
    by_columns: bool = False,
    alternating: bool = False,
    keys: Mapping[str, object] | None = None,
    last_keys: Mapping[str, object] | None = None,
) -> bytes:
    """Return one field (latitude, longitude) with a scalar time, its valid time, as a GRIB message on a regular grid.

    `origin` is the longitude of the first column. `keys` are set before the parameter, `last_keys` after the values.
    """
    run = field.time.values.astype("datetime64[s]") - np.timedelta64(step_hours, "h")
    text = np.datetime_as_string(run, "m")
    rows = field.sortby("latitude", ascending=j_positive)
    rows = rows.assign_coords(longitude=(rows.longitude - origin) % 360 + origin).sortby("longitude")
    rows = rows.isel(longitude=slice(None, None, -1)) if i_negative else rows
    latitude, longitude = rows.latitude.values, rows.longitude.values % 360.0
    handle = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
    settings: dict[str, Any] = {
        "dataDate": int(text[:10].replace("-", "")),
        "dataTime": int(text[11:13]) * 100 + int(text[14:16]),
        **(keys or {}),
        **({"paramId": PARAM_IDS[str(field.name)]} if edition == 1 else {"shortName": GRIB_NAMES[str(field.name)]}),
        "step": step_hours,
        "Ni": longitude.size,
        "Nj": latitude.size,
        "latitudeOfFirstGridPointInDegrees": float(latitude[0]),
        "latitudeOfLastGridPointInDegrees": float(latitude[-1]),
        "longitudeOfFirstGridPointInDegrees": float(longitude[0]),
        "longitudeOfLastGridPointInDegrees": float(longitude[-1]),
        "iDirectionIncrementInDegrees": 360.0 / longitude.size,
        "jDirectionIncrementInDegrees": abs(float(latitude[1] - latitude[0])),
        "iScansNegatively": int(i_negative),
        "jScansPositively": int(j_positive),
        "jPointsAreConsecutive": int(by_columns),
        **({"alternativeRowScanning": int(alternating)} if edition == 2 else {}),
        "bitsPerValue": 16,
    }
    try:
        for key, value in settings.items():
            eccodes.codes_set(handle, key, value)
        eccodes.codes_set_values(handle, _scan(rows.values, by_columns=by_columns, alternating=alternating))
        for key, value in (last_keys or {}).items():
            eccodes.codes_set(handle, key, value)
        content: bytes = eccodes.codes_get_message(handle)
    finally:
        eccodes.codes_release(handle)
    return content


def _scan(table: NDArray[Any], *, by_columns: bool, alternating: bool) -> NDArray[np.float64]:
    """Return the values in the order in which a message has them."""
    lines = np.array(table.T if by_columns else table, np.float64)
    if alternating:
        lines[1::2] = lines[1::2, ::-1]
    return lines.ravel()
