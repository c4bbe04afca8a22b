"""Read fields that do not change in time, such as orography and the land–sea mask, by their name in the file."""

from collections.abc import Sequence
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


def read_static_fields(source: str, names: Sequence[str], grid: Grid) -> list[NDArray[np.float64]]:
    """Return the fields (latitude, longitude) of a NetCDF file or Zarr store on its canonical grid, which is `grid`.

    A dimension of size 1, such as a time, is dropped. Raises `SourceError` if a field is missing, on another grid, not
    finite or constant.
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
    dataset = next((dataset for dataset in datasets if name in dataset), None)
    if dataset is None:
        held = ", ".join(str(name) for dataset in datasets for name in dataset)
        raise SourceError(f"`{source}` has no static field `{name}`. It has: {held}.")
    array = dataset[name]
    array = array.squeeze([dim for dim in array.dims if array.sizes[dim] == 1], drop=True)
    axes = {
        role_of(str(coordinate), array[coordinate].attrs): coordinate
        for coordinate in array.coords
        if array[coordinate].ndim == 1
    }
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
    if not points.grid.matches(grid):
        raise SourceError(f"The static field `{name}` of `{source}` must be on the grid {grid}. Got: {points.grid}.")
    values = points.arrange(array.transpose(*latitude.dims, *longitude.dims).values.astype(np.float64))
    if not np.isfinite(values).all() or values.std() == 0:
        raise SourceError(f"The static field `{name}` of `{source}` must be finite, and not the same everywhere.")
    return np.asarray(values, np.float64)
