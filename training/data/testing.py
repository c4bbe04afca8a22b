"""Frames in memory, for tests of this project and of others."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.packing import Packing
from weather.grids import Grid


class MemoryFrames:
    """Frames float32 (frame, variable, latitude, longitude) in memory, as if `chunk_size` of them were a chunk."""

    def __init__(
        self,
        grid: Grid,
        variables: Sequence[str],
        valid_times: NDArray[Any],
        frames: NDArray[np.float32],
        chunk_size: int = 1,
    ) -> None:
        self.grid, self.variables, self.valid_times, self._frames = grid, tuple(variables), valid_times, frames
        self.chunk_ids = np.arange(len(valid_times)) // chunk_size
        self.packing = Packing()

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return frames in any order."""
        return np.asarray(self._frames[indices])
