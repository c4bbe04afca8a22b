"""Open the data of a training: files and stores of frames, and their static fields."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.training_data import TrainingData
from training.dataset import load_series


class _Memory:
    """Frames in memory."""

    def __init__(self, frames: NDArray[np.float32]) -> None:
        self._frames = frames

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return frames (frame, variable, latitude, longitude) in physical units."""
        return self._frames[indices]


def load_training_data(
    sources: Sequence[str | Path],
    variables: Sequence[str],
    *,
    time_step_hours: int = 6,
    context_frames: int = 2,
    static_fields: Sequence[str] = (),
    features: tuple[str, ...] = (),
    years: Sequence[int] | None = None,
) -> TrainingData:
    """Return the frames of all sources in `years`, by default in all years, in order of time.

    Raises `TrainingDataError` naming the source that cannot be opened, lacks a variable or is on another grid, or the
    variable and time that are not finite.
    """
    series = load_series(sources, variables, time_step_hours, static_fields, features)
    chosen = np.ones(len(series.valid_times), bool)
    if years is not None:
        chosen = np.isin(series.valid_times.astype("datetime64[Y]").astype(int) + 1970, years)
    return TrainingData(
        _Memory(series.frames[chosen]),
        series.grid,
        variables,
        series.valid_times[chosen],
        series.time_step,
        context_frames=context_frames,
        static=series.static,
        features=features,
    )
