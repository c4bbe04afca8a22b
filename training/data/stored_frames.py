"""Frames that are read from files and stores, checked to be finite, and regridded if another grid is wanted."""

import numpy as np
from numpy.typing import NDArray

from training.data.packing import Packing
from weather.errors import TrainingDataError
from weather.grids import Grid
from weather.readers.containers import SourceError
from weather.readers.long_series import LongSeries
from weather.regrid import overlap_weights
from weather.times import format_time


class StoredFrames:
    """The frames of a long series in physical units, by default on its own grid; else area means on `grid`."""

    def __init__(self, series: LongSeries, grid: Grid | None = None) -> None:
        self._series = series
        self.valid_times, self.chunk_ids, self.variables = series.times, series.chunk_ids, series.variables
        is_regridded = grid is not None and not grid.matches(series.grid)
        self.grid = grid or series.grid
        self.packing = Packing(None if is_regridded else series.list_packings())
        self._weights = overlap_weights(series.grid, self.grid) if is_regridded else None

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return frames (frame, variable, latitude, longitude) in any order.

        Raises `TrainingDataError` if they cannot be read, or naming variable, source and time of a value that is not
        finite.
        """
        wanted, places = np.unique(indices, return_inverse=True)
        try:
            frames = self._series.read(wanted)
        except SourceError as error:
            raise TrainingDataError(f"The data cannot be used for training: {error}") from error
        finite = np.isfinite(frames).all(axis=(2, 3))
        if not finite.all():
            frame, channel = np.argwhere(~finite)[0]
            source = self._series.source(int(wanted[frame]), int(channel))
            raise TrainingDataError(
                f"`{self.variables[channel]}` of `{source}` is not finite at "
                f"{format_time(self.valid_times[wanted[frame]])}. "
                "Choose other years, or periods without this time."
            )
        if self._weights is not None:
            rows, columns = self._weights
            frames = np.asarray(rows @ frames @ columns.T, np.float32)
        return frames if np.array_equal(wanted, indices) else frames[places]
