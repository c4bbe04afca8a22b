"""Open the data of a training: files and stores of frames, and their static fields."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.stored_frames import StoredFrames
from training.data.training_data import TrainingData
from weather.errors import TrainingDataError
from weather.grids import Grid
from weather.periods import Period, select_times
from weather.readers.containers import SourceError
from weather.readers.long_series import open_long_series
from weather.readers.static import read_static_fields


def load_training_data(
    sources: Sequence[str | Path],
    variables: Sequence[str],
    *,
    time_step_hours: int = 6,
    context_frames: int = 2,
    static_fields: Sequence[str] = (),
    static_source: str | Path | None = None,
    features: tuple[str, ...] = (),
    years: Sequence[Period] | None = None,
    grid: Grid | None = None,
) -> TrainingData:
    """Return the frames of all sources in `years`, by default in all years, in order of time; none of them is read yet.

    Static fields are those of `static_source`, by default of the first source. Frames and fields are regridded to
    `grid`, by default not. Raises `TrainingDataError` naming the source that cannot be opened, lacks a variable, a year
    or a static field, or is on another grid than the others.
    """
    if not sources:
        raise TrainingDataError("No data: expected GRIB or NetCDF files, or Zarr stores. Got: none.")

    def fail(problems: Sequence[str]) -> TrainingDataError:
        return TrainingDataError("The data cannot be used for training: " + " ".join(problems))

    def select(times: NDArray[Any]) -> NDArray[np.bool_]:
        return select_times(times, years or ())

    with ExitStack() as stack:
        opened = open_long_series([str(path) for path in sources], variables, fail, select if years else None)
        reader = StoredFrames(stack.enter_context(opened), grid)
        static = _read_static_fields(str(static_source or sources[0]), static_fields, reader.grid)
        return TrainingData(
            reader,
            np.timedelta64(time_step_hours, "h"),
            context_frames=context_frames,
            static=static,
            features=features,
            stack=stack.pop_all(),
        )


def _read_static_fields(source: str, names: Sequence[str], grid: Grid) -> NDArray[np.float32]:
    """Return static fields of a source (field, latitude, longitude), each with mean 0 and standard deviation 1."""
    try:
        fields = read_static_fields(source, names, grid) if names else []
    except SourceError as error:
        raise TrainingDataError(str(error)) from error
    normalised = [(values - values.mean()) / values.std() for values in fields]
    return np.stack(normalised).astype(np.float32) if normalised else np.zeros((0, *grid.shape), np.float32)
