"""Read fields that do not change in time, such as orography and the land–sea mask, by any of their names."""

from collections.abc import Hashable, Sequence
from contextlib import ExitStack

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.grids import Grid
from weather.readers.containers import SourceError
from weather.readers.conventions import role_of
from weather.readers.files import UNREADABLE, describe_damage, open_dataset
from weather.readers.points import Points, PointsError
from weather.readers.sources import open_source
from weather.regrid import overlap_weights

_NAMES = (
    ("orog", "orography", "geopotential_at_surface", "surface_geopotential", "z", "HGT_surface"),
    ("lsm", "land_sea_mask", "LAND_surface"),
    ("sdor", "standard_deviation_of_orography"),
    ("anor", "angle_of_sub_gridscale_orography"),
    ("isor", "anisotropy_of_sub_gridscale_orography"),
    ("slor", "slope_of_sub_gridscale_orography"),
    ("slt", "soil_type"),
)
"""Names of the same field in the nature run, the Climate Data Store, WeatherBench 2, ARCO-ERA5 and GFS.

Height and geopotential differ by a factor, which the normalisation removes.
"""
_LEVELS = {"pressure", "level", "vertical"}


def read_static_fields(source: str, names: Sequence[str], grid: Grid) -> list[NDArray[np.float64]]:
    """Return the fields (latitude, longitude) of a NetCDF file or Zarr store on `grid`, in the order of `names`.

    A field is found by its name, or by another of its names in `_NAMES`; of a field on another global grid, each value
    is the area-weighted mean over its cell. A dimension of size 1, such as a time, is dropped.
    Raises `SourceError` if a field is missing, not global, not finite or constant.
    """
    with ExitStack() as stack:
        opened = [item for item in open_source(source, stack) if item.format != "GRIB"]
        if not opened:
            raise SourceError(f"`{source}` must be NetCDF or Zarr to have static fields. Got: GRIB.")
        try:
            datasets = [open_dataset(item, stack) for item in opened]
            return [_read(source, datasets, name, grid) for name in names]
        except UNREADABLE as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(describe_damage(source, opened[0].format, error)) from error


def _read(source: str, datasets: Sequence[xr.Dataset], name: str, grid: Grid) -> NDArray[np.float64]:
    array = _find(source, datasets, name)
    axes = _axes(array)
    if array.ndim != 2 or not {"latitude", "longitude"} <= axes.keys():
        raise SourceError(
            f"The static field `{name}` of `{source}` must have the dimensions latitude and longitude. "
            f"Got: {dict(array.sizes)}."
        )
    latitude, longitude = array[axes["latitude"]], array[axes["longitude"]]
    try:
        points = Points.of(latitude.values, longitude.values)
    except PointsError as error:
        raise SourceError(f"The static field `{name}` of `{source}` cannot be used: {error}") from error
    values = points.arrange(array.transpose(*latitude.dims, *longitude.dims).values.astype(np.float64))
    if not points.grid.matches(grid):
        rows, columns = overlap_weights(points.grid, grid)
        values = rows @ values @ columns.T
    if not np.isfinite(values).all() or values.std() == 0:
        raise SourceError(f"The static field `{name}` of `{source}` must be finite, and not the same everywhere.")
    return np.asarray(values, np.float64)


def _find(source: str, datasets: Sequence[xr.Dataset], name: str) -> xr.DataArray:
    """Return the array of a field without dimensions of size 1, by `name` itself if there is one, else by an alias."""
    aliases = next((names for names in _NAMES if name in names), ())
    for candidate in (name, *aliases):
        for dataset in datasets:
            if candidate in dataset and (candidate == name or not _is_on_level(dataset[candidate])):
                array: xr.DataArray = dataset[candidate]
                return array.squeeze([dim for dim in array.dims if array.sizes[dim] == 1], drop=True)
    others = f", nor {', '.join(alias for alias in aliases if alias != name)}" if aliases else ""
    held = ", ".join(str(variable) for dataset in datasets for variable in dataset)
    raise SourceError(f"`{source}` has no static field `{name}`{others}. It has: {held}.")


def _is_on_level(array: xr.DataArray) -> bool:
    """Return whether a field is one of the atmosphere, such as the geopotential of a pressure level."""
    return bool(_LEVELS & {role_of(str(name), array[name].attrs) for name in array.coords})


def _axes(array: xr.DataArray) -> dict[str, Hashable]:
    """Return the one-dimensional coordinate of each role."""
    return {role_of(str(name), array[name].attrs): name for name in array.coords if array[name].ndim == 1}
