"""Statistics that tell frames of weather from others: mean and spread by latitude, roughness, change, wind speed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from weather.grids import Grid

BAND_EDGES = (90, 60, 30, 0, -30, -60, -90)
"""Latitudes between which mean and spread are taken, degrees."""

Frames = NDArray[np.float32]
"""Frames in physical units, (frame, variable, latitude, longitude)."""
Values = NDArray[np.float64]


def format_latitude(latitude: float) -> str:
    """Return a latitude such as `30°N`, or `the equator`."""
    return "the equator" if latitude == 0 else f"{abs(latitude):g}°{'N' if latitude > 0 else 'S'}"


@dataclass(frozen=True)
class Band:
    """Rows between two latitudes, and the area weight of each, with sum 1."""

    north: float
    south: float
    rows: slice
    weights: Values

    def __str__(self) -> str:
        return f"{format_latitude(self.north)} to {format_latitude(self.south)}"


@lru_cache(8)
def bands_of(grid: Grid) -> tuple[Band, ...]:
    """Return the bands of latitudes that have rows of `grid`, from north to south."""
    latitudes, bands = np.asarray(grid.latitude), []
    for north, south in pairwise(BAND_EDGES):
        inside = np.nonzero((latitudes <= north) & (latitudes >= south if south == -90 else latitudes > south))[0]
        if len(inside):
            rows = slice(int(inside[0]), int(inside[-1]) + 1)
            weights = grid.area_weights[rows]
            bands.append(Band(north, south, rows, weights / weights.sum()))
    return tuple(bands)


def measure_bands(frames: Frames, grid: Grid) -> tuple[Values, Values]:
    """Return mean and standard deviation over each band of latitudes, both (frame, variable, band)."""
    means, spreads = [], []
    for band in bands_of(grid):
        part = frames[..., band.rows, :].astype(np.float64)
        mean = part.mean(axis=-1) @ band.weights
        variance = ((part - mean[..., None, None]) ** 2).mean(axis=-1) @ band.weights
        means.append(mean)
        spreads.append(np.sqrt(variance))
    return np.stack(means, axis=-1), np.stack(spreads, axis=-1)


def measure_roughness(frames: Frames, grid: Grid) -> Values:
    """Return the mean square difference of neighbours on a row, in units of twice the variance, (frame, variable).

    It is 1 for white noise and near 0 for smooth fields; 0 for a constant one.
    """
    weights = grid.area_weights / grid.area_weights.sum()
    values = frames.astype(np.float64)
    mean = (values.mean(axis=-1) @ weights)[..., None, None]
    variance = ((values - mean) ** 2).mean(axis=-1) @ weights
    differences = (np.roll(values, -1, axis=-1) - values) ** 2
    return np.asarray((differences.mean(axis=-1) @ weights) / np.maximum(2 * variance, np.finfo(np.float64).tiny))


def measure_change(previous: Frames, newest: Frames, grid: Grid) -> Values:
    """Return the root mean square difference over the globe, (frame, variable)."""
    weights = grid.area_weights / grid.area_weights.sum()
    squares = (newest.astype(np.float64) - previous) ** 2
    return np.asarray(np.sqrt(squares.mean(axis=-1) @ weights))


def measure_wind_speed(frames: Frames, variables: Sequence[str]) -> Values | None:
    """Return the largest wind speed of each frame, m s-1; None without both components."""
    if not {"u10", "v10"} <= set(variables):
        return None
    u, v = (frames[:, list(variables).index(name)].astype(np.float64) for name in ("u10", "v10"))
    return np.asarray(np.hypot(u, v).max(axis=(1, 2)))
