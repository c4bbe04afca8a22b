"""Statistics of the training years in one pass: mean and standard deviation of each variable, and the extremes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from storage.atomic import write_text
from weather.errors import TrainingDataError
from weather.extremes import ExtremesBuilder, TrainingExtremes
from weather.grids import Grid
from weather.manifest import Normalisation
from weather.periods import Period, format_periods
from weather.schema import FrozenModel
from weather.variables import KNOWN


class Statistics(FrozenModel):
    """Normalisation of each variable and extremes; `source` identifies the frames that they are of."""

    source: tuple[str, ...]
    variables: tuple[Normalisation, ...]
    extremes: TrainingExtremes


class _Moments:
    """Area-weighted mean and sum of squared deviations of each variable, merged part by part, in float64."""

    def __init__(self, num_variables: int, grid: Grid) -> None:
        self._weights = grid.area_weights / grid.area_weights.sum()
        self._count, self.mean, self._squares = 0, np.zeros(num_variables), np.zeros(num_variables)

    def add(self, frames: NDArray[np.float32]) -> None:
        """Add frames (frame, variable, latitude, longitude)."""
        for channel in range(frames.shape[1]):
            field = frames[:, channel].astype(np.float64)
            mean = float(field.mean(axis=(0, 2)) @ self._weights)
            field -= mean
            squares = float(np.square(field, out=field).mean(axis=(0, 2)) @ self._weights) * len(frames)
            total, difference = self._count + len(frames), mean - self.mean[channel]
            self._squares[channel] += squares + difference**2 * self._count * len(frames) / total
            self.mean[channel] += difference * len(frames) / total
        self._count += len(frames)

    def spread(self, about: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the root mean square deviation from the values `about`."""
        return np.asarray(np.sqrt(self._squares / self._count + (self.mean - about) ** 2))


def compute_statistics(
    parts: Iterable[tuple[NDArray[np.float32], NDArray[Any]]],
    variables: Sequence[str],
    grid: Grid,
    time_step: np.timedelta64,
    years: Sequence[Period],
    source: Sequence[str],
) -> Statistics:
    """Return the statistics of frames in order of time, given in parts with their valid times; memory is bounded.

    Mean and standard deviation are area-weighted. The mean of a component of a vector is 0, and its standard deviation
    is that about 0. Raises `TrainingDataError` for a variable that is the same everywhere, and unless two frames are
    one time step apart.
    """
    moments = _Moments(len(variables), grid)
    with ExtremesBuilder(variables, grid, time_step) as extremes:
        for frames, valid_times in parts:
            moments.add(frames)
            extremes.add(frames, valid_times)
        means = np.where([KNOWN[name].is_vector for name in variables], 0.0, moments.mean)
        spreads = moments.spread(means)
        for name, mean, spread in zip(variables, means, spreads, strict=True):
            if spread == 0:
                raise TrainingDataError(f"`{name}` must vary over {format_periods(years)}. Got: {mean:g} everywhere.")
        scale = [
            Normalisation(name=name, mean=float(mean), std=float(spread))
            for name, mean, spread in zip(variables, means, spreads, strict=True)
        ]
        built = extremes.build([(variable.mean, variable.std) for variable in scale])
    return Statistics(source=tuple(source), variables=tuple(scale), extremes=built)


def read_statistics(path: Path, source: Sequence[str]) -> Statistics | None:
    """Return the statistics that `write_statistics` wrote, or None if there are none, or those of other frames."""
    try:
        stored = Statistics.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValidationError):
        return None
    return stored if stored.source == tuple(source) else None


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Write statistics, so that a training that continues does not read all frames again."""
    write_text(path, statistics.model_dump_json() + "\n")
