"""Frames of the weather in memory, and the triples (t − 6 h, t, t + 6 h) that networks learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from weather.canonical import Problems, canonical
from weather.errors import TrainingDataError
from weather.features import feature_fields
from weather.grids import Grid
from weather.manifest import GridSpec, Normalisation
from weather.variables import KNOWN


@dataclass(frozen=True)
class Batch:
    """Frames in physical units, (sample, variable, lat, lon), and features of the middle frame's date."""

    previous: Float[Tensor, "sample variable lat lon"]
    newest: Float[Tensor, "sample variable lat lon"]
    target: Float[Tensor, "sample variable lat lon"]
    features: Float[Tensor, "sample feature lat lon"]


class WeatherSeries:
    """All frames of some files, float32 (time, variable, lat, lon), with valid times that rise."""

    def __init__(
        self,
        grid: Grid,
        frames: NDArray[np.float32],
        valid_times: NDArray[Any],
        static: NDArray[np.float32],
        features: tuple[str, ...],
        time_step: np.timedelta64,
    ) -> None:
        self.grid = grid
        self.frames = frames
        self.valid_times = valid_times
        self.static = static
        self._features = features
        self.time_step = time_step

    def triples(self, years: Sequence[int]) -> NDArray[np.int64]:
        """Return the index of each middle frame whose neighbours are one time step away.

        All three frames lie within `years`, which keeps training and validation years apart.
        """
        gaps = np.diff(self.valid_times) == self.time_step
        in_years = np.isin(self.valid_times.astype("datetime64[Y]").astype(int) + 1970, years)
        middle = gaps[:-1] & gaps[1:] & in_years[:-2] & in_years[1:-1] & in_years[2:]
        return np.nonzero(middle)[0] + 1

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Return the triples around the given middle frames."""
        features = [feature_fields(self._features, self.grid, time) for time in self.valid_times[indices]]
        previous, newest, target = (torch.from_numpy(self.frames[indices + shift]) for shift in (-1, 0, 1))
        return Batch(previous, newest, target, torch.from_numpy(np.stack(features)))

    def normalisation(self, variables: Sequence[str], years: Sequence[int]) -> tuple[Normalisation, ...]:
        """Return each variable's statistics over `years`; a vector component is scaled about zero."""
        in_years = np.isin(self.valid_times.astype("datetime64[Y]").astype(int) + 1970, years)
        weights = self.grid.area_weights[:, None]
        result = []
        for channel, name in enumerate(variables):
            field = self.frames[in_years, channel].astype(np.float64)
            mean = 0.0 if KNOWN[name].is_vector else float((field * weights).mean())
            std = float(np.sqrt((((field - mean) ** 2) * weights).mean()))
            result.append(Normalisation(name=name, mean=mean, std=std))
        return tuple(result)


def load_series(
    files: Sequence[Path],
    variables: Sequence[str],
    time_step_hours: int,
    static_fields: Sequence[str] = (),
    features: tuple[str, ...] = (),
) -> WeatherSeries:
    """Read every file into memory, in order of time; static fields are those of the first file.

    Raises `TrainingDataError` naming the file that cannot be opened, or what is missing, wrong, on another grid or
    not finite.
    """
    if not files:
        raise TrainingDataError("No data: expected NetCDF files or Zarr stores. Got: none.")
    parts: list[xr.Dataset] = []
    static: NDArray[np.float32] | None = None
    for path in files:
        with _opened(path) as dataset:
            problems = Problems()
            part = canonical(dataset, variables, problems)
            if part is None:
                raise TrainingDataError(f"`{path}` cannot train: " + " ".join(problems))
            parts.append(part.load())
            if static is None:
                static = _static(dataset, static_fields, path)
    grids = [Grid.from_coordinates(part.latitude.values, part.longitude.values) for part in parts]
    for path, grid in zip(files, grids, strict=True):
        if not grid.matches(grids[0]):
            raise TrainingDataError(f"`{path}` is on the grid {grid}, but expected that of `{files[0]}`: {grids[0]}.")
    series = xr.concat(parts, "time").sortby("time").drop_duplicates("time")
    frames = np.stack([series[name].values for name in variables], axis=1)
    if not np.isfinite(frames).all():
        time, channel = (int(axis[0]) for axis in np.nonzero(~np.isfinite(frames))[:2])
        raise TrainingDataError(f"`{variables[channel]}` is not finite at {series.time.values[time]}.")
    assert static is not None
    step = np.timedelta64(time_step_hours, "h")
    return WeatherSeries(grids[0], frames, series.time.values.astype("datetime64[s]"), static, features, step)


def grid_spec(grid: Grid) -> GridSpec:
    """Return a grid as a manifest states it."""
    return GridSpec(latitude=grid.latitude, longitude=grid.longitude)


def _opened(path: Path) -> xr.Dataset:
    try:
        return xr.open_dataset(path, engine="zarr" if path.is_dir() else "netcdf4")
    except (OSError, ValueError) as error:
        raise TrainingDataError(f"`{path}` must be a NetCDF file or a Zarr store. Got: {error}") from error


def _static(dataset: xr.Dataset, names: Sequence[str], path: Path) -> NDArray[np.float32]:
    """Return static fields in canonical order, each with mean 0 and standard deviation 1."""
    fields = []
    for name in names:
        if name not in dataset:
            raise TrainingDataError(f"`{path}` has no static field `{name}`. It has: {', '.join(map(str, dataset))}.")
        array = dataset[name].transpose("latitude", "longitude")
        values = array.sortby("latitude", ascending=False).sortby(array.longitude % 360).values.astype(np.float64)
        fields.append((values - values.mean()) / values.std())
    shape = (dataset.sizes["latitude"], dataset.sizes["longitude"])
    return np.stack(fields).astype(np.float32) if fields else np.zeros((0, *shape), np.float32)
