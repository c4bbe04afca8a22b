"""The climate of a year of winds: means and variances in latitude bands, and errors of persistence."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.errors import TrainingDataError
from weather.grids import Grid

VARIABLES = ("u10", "v10")
BAND_EDGES = (-90, -60, -30, 0, 30, 60, 90)
PERSISTENCE_HOURS = (6, 24, 120)
_FRAMES_AT_ONCE = 124

Statistic = tuple[str, str, str]
"""Name, variable, and band or lead time."""


def measure_year(path: Path) -> dict[Statistic, float]:
    """Return the area-weighted statistics of a file of 6-hourly winds, in m s-1 and m2 s-2.

    Means and variances are those of all times and points of a band; the error of persistence is the mean absolute
    difference of two frames.
    """
    with _open(path) as dataset:
        _check_time_step(path, dataset)
        grid = Grid.from_coordinates(dataset.latitude, dataset.longitude)
        weights = np.repeat(grid.area_weights[:, None], grid.shape[1], axis=1)
        bands = np.digitize(grid.latitude, BAND_EDGES[1:-1])
        found: dict[Statistic, float] = {}
        for variable in VARIABLES:
            moments = np.zeros((3, len(BAND_EDGES) - 1))
            errors = {hours: np.zeros(2) for hours in PERSISTENCE_HOURS}
            for frames, num_earlier in _read_pieces(dataset[variable]):
                _add_moments(moments, frames[num_earlier:], weights, bands)
                _add_errors(errors, frames, num_earlier, weights)
            found |= _finish(variable, moments, errors)
    if not np.isfinite(list(found.values())).all():
        raise TrainingDataError(f"`{path}` must have finite winds in every band, over more than 5 days.")
    return found


def _open(path: Path) -> xr.Dataset:
    try:
        dataset = xr.open_dataset(path)
    except (OSError, ValueError) as error:
        raise TrainingDataError(f"`{path}` cannot be read as NetCDF: {error}") from error
    missing = {*VARIABLES, "time", "latitude", "longitude"} - {*map(str, dataset.variables)}
    if missing:
        dataset.close()
        raise TrainingDataError(f"`{path}` must have {', '.join(VARIABLES)} on a grid. Missing: {sorted(missing)}.")
    return dataset


def _check_time_step(path: Path, dataset: xr.Dataset) -> None:
    steps = np.unique(np.diff(dataset.time.to_numpy()))
    if steps.tolist() != [np.timedelta64(6, "h").astype(steps.dtype).item()]:
        raise TrainingDataError(f"`{path}` must have a frame every 6 hours.")


def _read_pieces(field: xr.DataArray) -> Iterator[tuple[NDArray[np.float64], int]]:
    """Yield frames from north to south, with the earlier ones that the longest lead needs, and the number of these."""
    field = field.transpose("time", "latitude", "longitude").sortby("latitude", ascending=False).sortby("longitude")
    overlap = max(PERSISTENCE_HOURS) // 6
    for begin in range(0, field.sizes["time"], _FRAMES_AT_ONCE):
        first = max(begin - overlap, 0)
        yield field[first : begin + _FRAMES_AT_ONCE].to_numpy().astype(np.float64), begin - first


def _add_moments(
    moments: NDArray[np.float64], frames: NDArray[np.float64], weights: NDArray[np.float64], bands: NDArray[np.intp]
) -> None:
    """Add sums of weights, weighted values and weighted squares of each band to `moments`."""
    powers = np.stack([np.ones_like(frames), frames, frames**2])
    rows = (powers * weights).sum(axis=(1, 3))
    moments += [np.bincount(bands, row, moments.shape[1]) for row in rows]


def _add_errors(
    errors: dict[int, NDArray[np.float64]], frames: NDArray[np.float64], num_earlier: int, weights: NDArray[np.float64]
) -> None:
    """Add sums of weighted absolute differences and of weights, for each frame after the earlier ones, to `errors`."""
    for hours, sums in errors.items():
        first = max(num_earlier, hours // 6)
        later = frames[first:]
        earlier = frames[first - hours // 6 : len(frames) - hours // 6]
        if len(later):
            sums += (np.abs(later - earlier) * weights).sum(), len(later) * weights.sum()


def _finish(
    variable: str, moments: NDArray[np.float64], errors: dict[int, NDArray[np.float64]]
) -> dict[Statistic, float]:
    with np.errstate(invalid="ignore", divide="ignore"):
        means, squares = moments[1] / moments[0], moments[2] / moments[0]
        found = {("mean", variable, band): float(mean) for band, mean in zip(_name_bands(), means, strict=True)}
        for band, variance in zip(_name_bands(), squares - means**2, strict=True):
            found["variance", variable, band] = float(variance)
        for hours, sums in errors.items():
            found["persistence", variable, f"{hours} h"] = float(sums[0] / sums[1])
    return found


def _name_bands() -> list[str]:
    """Return the names of the bands from south to north, such as `60-30 S`."""
    return [
        f"{abs(south)}-{abs(north)} S" if north <= 0 else f"{south}-{north} N" for south, north in pairwise(BAND_EDGES)
    ]
