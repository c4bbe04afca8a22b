"""Axes of maps: a field with coastlines, on the globe in an equal-area projection or in a region."""

from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.lines import Line2D
from matplotlib.projections.geo import MollweideAxes
from numpy.typing import NDArray

from diagnostics.figures.style import format_latitude, format_longitude
from weather.grids import Grid
from weather.region import Region

Field = NDArray[np.float32]

_GRATICULE_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 45, 60)
_MAX_GRATICULE_LINES = 5


@cache
def coastlines() -> NDArray[np.float64]:
    """Return coastlines in degrees, (point, [longitude, latitude]), with NaN between lines.

    Natural Earth 1:110m land (public domain), as packed by world-atlas 2.0.2, in hundredths of a degree.
    """
    hundredths = np.load(Path(__file__).parent / "coastlines.npy").astype(np.float64)
    return np.where(hundredths == np.iinfo(np.int16).min, np.nan, hundredths / 100)


@cache
def _projected_coastlines() -> NDArray[np.float64]:
    """Project the coastlines to Mollweide coordinates; cached because that takes longer than drawing."""
    projection = MollweideAxes.MollweideTransform(int(MollweideAxes.RESOLUTION))
    return np.asarray(projection.transform(np.radians(coastlines())))


def draw_globe(axes: Axes, grid: Grid, field: Field, colours: str, limits: tuple[float, float]) -> QuadMesh:
    """Draw `field` (latitude, longitude) on Mollweide `axes` centred on 0°; returns the mesh, for a colour bar."""
    longitude = np.asarray(grid.longitude)
    shift = int(np.searchsorted(longitude, 180.0))
    east = np.concatenate([longitude[shift:] - 360, longitude[:shift]])
    latitude, values = _add_poles(grid, field)
    values = np.concatenate([values[:, shift:], values[:, :shift]], axis=1)
    seam = (values[:, :1] + values[:, -1:]) / 2
    values = np.concatenate([seam, values, seam], axis=1)
    mesh = _draw_mesh(axes, np.radians([-180.0, *east, 180.0]), np.radians(latitude), values, colours, limits)
    transform = cast(Any, axes).transAffine + axes.transAxes
    coast = Line2D(*_projected_coastlines().T, color="white", linewidth=0.4, alpha=0.75, transform=transform)
    axes.add_artist(coast)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["geo"].set_linewidth(0.3)
    return mesh


def draw_region(
    axes: Axes, region: Region, grid: Grid, field: Field, colours: str, limits: tuple[float, float]
) -> QuadMesh:
    """Draw `field` (latitude, longitude) in `region`, with coastlines and a labelled graticule; returns the mesh.

    The projection is equirectangular, true to scale at the region's middle latitude.
    """
    latitude, values = _add_poles(grid, field)
    latitude, longitude, values = region.crop(latitude, np.asarray(grid.longitude), values)
    mesh = _draw_mesh(axes, longitude, latitude, values, colours, limits)
    coast = coastlines()
    for turn in (-360, 0, 360):
        axes.plot(coast[:, 0] + turn, coast[:, 1], color="white", linewidth=0.8, alpha=0.85)
    axes.set(xlim=(region.west, region.east), ylim=(region.south, region.north), aspect=region.aspect)
    _set_graticule(axes, region)
    return mesh


def _draw_mesh(
    axes: Axes,
    longitude: NDArray[np.float64],
    latitude: NDArray[np.float64],
    values: Field,
    colours: str,
    limits: tuple[float, float],
) -> QuadMesh:
    """Draw values at the points of a mesh, with colours interpolated between them."""
    low, high = limits
    return axes.pcolormesh(
        longitude, latitude, values, shading="gouraud", cmap=colours, vmin=low, vmax=high, rasterized=True
    )


def _add_poles(grid: Grid, field: Field) -> tuple[NDArray[np.float64], Field]:
    """Return latitudes and `field` with a row at each pole, the mean of the row next to it."""
    north, south = (np.full_like(row, row.mean()) for row in (field[:1], field[-1:]))
    return np.array([90.0, *grid.latitude, -90.0]), np.concatenate([north, field, south])


def _set_graticule(axes: Axes, region: Region) -> None:
    """Draw thin lines of equal longitude and latitude, with their coordinates as tick labels."""
    longitudes = _graticule(region.west, region.east)
    latitudes = _graticule(region.south, region.north)
    axes.set_xticks(longitudes, [format_longitude(longitude) for longitude in longitudes])
    axes.set_yticks(latitudes, [format_latitude(latitude) for latitude in latitudes])
    axes.tick_params(length=0, labelsize=7)
    axes.grid(color="white", linewidth=0.4, alpha=0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _graticule(low: float, high: float) -> list[float]:
    """Return the multiples of a round step within an interval of degrees, at most five of them if a step allows it."""
    for step in _GRATICULE_STEPS:
        lines = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
        if len(lines) <= _MAX_GRATICULE_LINES:
            break
    return [round(float(line), 6) for line in lines]
