"""Frames of weather in memory, and the triples of consecutive frames on which the networks are trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from models.shapes import Features, Fields
from weather.errors import TrainingDataError
from weather.features import feature_fields
from weather.grids import Grid
from weather.manifest import GridSpec, Normalisation
from weather.readers.canonical import Problems, reorder, to_canonical
from weather.readers.dimensions import standardise_dimensions
from weather.variables import KNOWN


@dataclass(frozen=True)
class Batch:
    """Triples of consecutive frames in physical units, and features of the date of `newest`, the middle frame."""

    previous: Fields
    newest: Fields
    target: Fields
    features: Features


class WeatherSeries:
    """Frames of weather, float32 (time, variable, lat, lon) in physical units, with ascending valid times."""

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

    def middle_indices(self, years: Sequence[int]) -> NDArray[np.int64]:
        """Return the indices of the frames whose predecessor and successor are one time step away.

        All three frames are in `years`, so that no frame is in both training and validation.
        """
        consecutive = np.diff(self.valid_times) == self.time_step
        in_years = self._is_in(years)
        middle = consecutive[:-1] & consecutive[1:] & in_years[:-2] & in_years[1:-1] & in_years[2:]
        return np.nonzero(middle)[0] + 1

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Return the batch of triples whose middle frames have the given indices."""
        features = [feature_fields(self._features, self.grid, time) for time in self.valid_times[indices]]
        previous, newest, target = (torch.from_numpy(self.frames[indices + shift]) for shift in (-1, 0, 1))
        return Batch(previous, newest, target, torch.from_numpy(np.stack(features)))

    def normalisation(self, variables: Sequence[str], years: Sequence[int]) -> tuple[Normalisation, ...]:
        """Return each variable's mean and standard deviation over `years`; a vector component's mean is set to 0.

        Raises `TrainingDataError` for a variable whose standard deviation is 0.
        """
        in_years = self._is_in(years)
        weights = self.grid.area_weights[:, None]
        result = []
        for channel, name in enumerate(variables):
            field = self.frames[in_years, channel].astype(np.float64)
            mean = 0.0 if KNOWN[name].is_vector else float((field * weights).mean())
            std = float(np.sqrt((((field - mean) ** 2) * weights).mean()))
            if std == 0:
                raise TrainingDataError(f"`{name}` must vary over {list(years)}. Got: {mean:g} everywhere.")
            result.append(Normalisation(name=name, mean=mean, std=std))
        return tuple(result)

    def _is_in(self, years: Sequence[int]) -> NDArray[np.bool_]:
        """Return whether each frame is in one of `years`."""
        return np.isin(self.valid_times.astype("datetime64[Y]").astype(int) + 1970, years)


def load_series(
    files: Sequence[Path],
    variables: Sequence[str],
    time_step_hours: int,
    static_fields: Sequence[str] = (),
    features: tuple[str, ...] = (),
) -> WeatherSeries:
    """Return the frames of all files, in order of time, with the static fields of the first file.

    Raises `TrainingDataError` naming the file that cannot be opened, lacks a variable or is on another grid, or the
    variable that is not finite.
    """
    if not files:
        raise TrainingDataError("No data: expected NetCDF files or Zarr stores. Got: none.")
    parts = [_read_frames(path, variables) for path in files]
    grids = [Grid.from_coordinates(part.latitude.values, part.longitude.values) for part in parts]
    for path, grid in zip(files, grids, strict=True):
        if not grid.matches(grids[0]):
            raise TrainingDataError(f"`{path}` is on the grid {grid}, but expected that of `{files[0]}`: {grids[0]}.")
    series = xr.concat(parts, "time").sortby("time").drop_duplicates("time")
    frames = np.stack([series[name].values for name in variables], axis=1)
    if not np.isfinite(frames).all():
        time, channel = (int(axis[0]) for axis in np.nonzero(~np.isfinite(frames))[:2])
        raise TrainingDataError(f"`{variables[channel]}` is not finite at {series.time.values[time]}.")
    return WeatherSeries(
        grid=grids[0],
        frames=frames,
        valid_times=series.time.values.astype("datetime64[s]"),
        static=_read_static_fields(files[0], static_fields, grids[0]),
        features=features,
        time_step=np.timedelta64(time_step_hours, "h"),
    )


def grid_spec(grid: Grid) -> GridSpec:
    """Return the specification of a grid for a manifest."""
    return GridSpec(latitude=grid.latitude, longitude=grid.longitude)


def _open(path: Path) -> xr.Dataset:
    """Open a NetCDF file or a Zarr store; raises `TrainingDataError` for any other."""
    try:
        return xr.open_dataset(path, engine="zarr" if path.is_dir() else "netcdf4")
    except (OSError, ValueError) as error:
        raise TrainingDataError(f"`{path}` must be a NetCDF file or a Zarr store. Got: {error}") from error


def _read_frames(path: Path, variables: Sequence[str]) -> xr.Dataset:
    """Return all frames of a file, in canonical names, units and order of the axes."""
    with _open(path) as dataset:
        problems = Problems()
        frames = to_canonical(dataset, variables, problems)
        if frames is None:
            raise TrainingDataError(f"`{path}` cannot be used for training: " + " ".join(problems))
        if "member" in frames.dims:
            raise TrainingDataError(f"`{path}` must hold analyses. Got: {frames.sizes['member']} members of each.")
        return frames.load()


def _read_static_fields(path: Path, names: Sequence[str], grid: Grid) -> NDArray[np.float32]:
    """Return static fields of a file (field, lat, lon), north to south, each with mean 0 and standard deviation 1."""
    with _open(path) as dataset:
        fields = [_read_static_field(path, dataset, name, grid) for name in names]
    return np.stack(fields).astype(np.float32) if fields else np.zeros((0, *grid.shape), np.float32)


def _read_static_field(path: Path, dataset: xr.Dataset, name: str, grid: Grid) -> NDArray[np.float64]:
    """Return one static field; raises `TrainingDataError` unless it varies over `grid`, and over nothing else."""
    if name not in dataset:
        held = ", ".join(map(str, dataset))
        raise TrainingDataError(f"`{path}` has no static field `{name}`. It has: {held}.")
    array = standardise_dimensions(dataset[name])
    if array.sizes.get("time") == 1:
        array = array.isel(time=0, drop=True)
    expected = {"latitude": grid.shape[0], "longitude": grid.shape[1]}
    if dict(array.sizes) != expected:
        raise TrainingDataError(
            f"The static field `{name}` of `{path}` must have the dimensions {expected}. Got: {dict(array.sizes)}."
        )
    values = reorder(array).values.astype(np.float64)
    if not np.isfinite(values).all() or values.std() == 0:
        raise TrainingDataError(f"The static field `{name}` of `{path}` must be finite, and not the same everywhere.")
    return np.asarray((values - values.mean()) / values.std())
