"""World map of a field on a latitude–longitude grid, in an equal-area projection with coastlines."""

from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.projections.geo import MollweideAxes
from numpy.typing import NDArray

from weather.grids import Grid


@cache
def coastlines() -> NDArray[np.float64]:
    """Return coastlines in radians, (point, [longitude, latitude]), with a NaN between two lines.

    Natural Earth 1:110m land (public domain), as packed by world-atlas 2.0.2, in hundredths of a degree.
    """
    hundredths = np.load(Path(__file__).parent / "coastlines.npy").astype(np.float64)
    return np.radians(np.where(hundredths == np.iinfo(np.int16).min, np.nan, hundredths / 100))


@cache
def _projected_coastlines() -> NDArray[np.float64]:
    """Return the coastlines in Mollweide coordinates, cached because projecting takes longer than drawing."""
    return np.asarray(MollweideAxes.MollweideTransform(int(MollweideAxes.RESOLUTION)).transform(coastlines()))


def draw_globe(
    axes: Axes, grid: Grid, field: NDArray[np.float64], colours: str, limits: tuple[float, float]
) -> QuadMesh:
    """Draw `field` (latitude, longitude) on Mollweide `axes` centred on 0°; returns the mesh, for a colour bar."""
    longitude = np.asarray(grid.longitude)
    shift = int(np.searchsorted(longitude, 180.0))
    east = np.concatenate([longitude[shift:] - 360, longitude[:shift]])
    west_edge, east_edge = -180.0, 180.0
    values = np.concatenate([field[:, shift:], field[:, :shift]], axis=1)
    seam = (values[:, :1] + values[:, -1:]) / 2
    values = np.concatenate([seam, values, seam], axis=1)
    values = np.concatenate([_pole(values[:1]), values, _pole(values[-1:])])
    lon = np.concatenate([[west_edge], east, [east_edge]])
    lat = np.concatenate([[90.0], grid.latitude, [-90.0]])
    mesh = axes.pcolormesh(
        np.radians(lon), np.radians(lat), values, shading="gouraud", cmap=colours, vmin=limits[0], vmax=limits[1],
        rasterized=True,
    )  # fmt: skip
    coast = _projected_coastlines()
    axes.plot(
        coast[:, 0], coast[:, 1], color="white", linewidth=0.4, alpha=0.75,
        transform=axes.transAffine + axes.transAxes, scalex=False, scaley=False,  # type: ignore[attr-defined]
    )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["geo"].set_linewidth(0.3)
    return mesh


def _pole(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a row at the pole: the mean of `row`, the closest latitude, at every longitude."""
    return np.full_like(row, row.mean())
