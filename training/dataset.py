"""Frames of weather in memory, and the triples of consecutive frames on which the networks are trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.shapes import Features, Fields
from weather.errors import TrainingDataError
from weather.extremes import TrainingExtremes, compute_extremes
from weather.features import feature_fields
from weather.grids import Grid
from weather.manifest import GridSpec, Normalisation
from weather.readers.containers import SourceError
from weather.readers.series import open_series
from weather.readers.static import read_static_fields
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

    def extremes(self, scale: Sequence[Normalisation], years: Sequence[int]) -> TrainingExtremes:
        """Return the extremes over `years`, which initial states are compared with; `scale` is that of each variable.

        Raises `TrainingDataError` unless two frames of these years are one time step apart.
        """
        in_years = self._is_in(years)
        scales = [(variable.name, variable.mean, variable.std) for variable in scale]
        parts = [(self.frames[in_years], self.valid_times[in_years])]
        return compute_extremes(parts, self.grid, scales, self.time_step)

    def _is_in(self, years: Sequence[int]) -> NDArray[np.bool_]:
        """Return whether each frame is in one of `years`."""
        return np.isin(self.valid_times.astype("datetime64[Y]").astype(int) + 1970, years)


def load_series(
    files: Sequence[str | Path],
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
        raise TrainingDataError("No data: expected GRIB or NetCDF files, or Zarr stores. Got: none.")

    def fail(problems: Sequence[str]) -> TrainingDataError:
        return TrainingDataError("The data cannot be used for training: " + " ".join(problems))

    with open_series([str(path) for path in files], variables, fail) as series:
        if series.is_ensemble:
            raise TrainingDataError(f"The data must hold analyses. Got: {len(series.members)} members of each.")
        loaded = series.load(series.times).fields
        grid = Grid.from_coordinates(loaded.latitude.values, loaded.longitude.values)
    frames = np.stack([loaded[name].values for name in variables], axis=1)
    if not np.isfinite(frames).all():
        time, channel = (int(axis[0]) for axis in np.nonzero(~np.isfinite(frames))[:2])
        raise TrainingDataError(f"`{variables[channel]}` is not finite at {loaded.time.values[time]}.")
    return WeatherSeries(
        grid=grid,
        frames=frames,
        valid_times=loaded.time.values.astype("datetime64[s]"),
        static=_read_static_fields(files[0], static_fields, grid),
        features=features,
        time_step=np.timedelta64(time_step_hours, "h"),
    )


def grid_spec(grid: Grid) -> GridSpec:
    """Return the specification of a grid for a manifest."""
    return GridSpec(latitude=grid.latitude, longitude=grid.longitude)


def _read_static_fields(path: str | Path, names: Sequence[str], grid: Grid) -> NDArray[np.float32]:
    """Return static fields of a file (field, lat, lon), north to south, each with mean 0 and standard deviation 1."""
    try:
        fields = read_static_fields(str(path), names, grid) if names else []
    except SourceError as error:
        raise TrainingDataError(str(error)) from error
    normalised = [(values - values.mean()) / values.std() for values in fields]
    return np.stack(normalised).astype(np.float32) if normalised else np.zeros((0, *grid.shape), np.float32)
