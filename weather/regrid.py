"""Regrid fields from one latitude–longitude grid to another, conserving area means."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.grids import Grid


def regrid(fields: xr.Dataset, target: Grid) -> xr.Dataset:
    """Return canonical `fields` on `target`: each value is the area-weighted mean over its cell.

    Area is sin(latitude) × longitude, so rows and columns are averaged separately. A row at a pole is a cap that ends
    midway to the next row, as in `Grid.area_weights`. Fields that are already on `target` keep their values and get
    its exact coordinates.
    """
    source = Grid.from_coordinates(fields.latitude.values, fields.longitude.values)
    coordinates = {"latitude": list(target.latitude), "longitude": list(target.longitude)}
    if source.matches(target):
        return fields.assign_coords(coordinates)
    rows, columns = overlap_weights(source, target)

    def means(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(rows @ values @ columns.T, dtype=np.float32)

    dims = ["latitude", "longitude"]
    regridded: xr.Dataset = xr.apply_ufunc(
        means, fields, input_core_dims=[dims], output_core_dims=[dims], exclude_dims=set(dims)
    )
    return regridded.assign_coords(coordinates)


def overlap_weights(source: Grid, target: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights of source rows in each target row, and those of columns: (target, source), with row sums 1."""
    rows = _overlaps(_row_bounds(target), _row_bounds(source))
    columns: NDArray[np.float64] = np.sum(
        [_overlaps(_column_bounds(target), _column_bounds(source) + turn) for turn in (-360, 0, 360)], axis=0
    )
    return rows, columns


def _row_bounds(grid: Grid) -> NDArray[np.float64]:
    latitudes: NDArray[np.float64] = np.array(grid.latitude)
    edges = np.sin(np.radians([90.0, *(latitudes[:-1] + latitudes[1:]) / 2, -90.0]))
    return np.stack([edges[1:], edges[:-1]], axis=1)


def _column_bounds(grid: Grid) -> NDArray[np.float64]:
    longitudes: NDArray[np.float64] = np.array(grid.longitude)
    half = 180.0 / grid.shape[1]
    return np.stack([longitudes - half, longitudes + half], axis=1)


def _overlaps(targets: NDArray[np.float64], sources: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fraction of each target interval that is in each source interval, (target, source).

    Intervals are (lower, upper) along the last axis.
    """
    lower = np.maximum(targets[:, None, 0], sources[:, 0])
    upper = np.minimum(targets[:, None, 1], sources[:, 1])
    fractions: NDArray[np.float64] = np.maximum(upper - lower, 0.0) / np.diff(targets)
    return fractions
