"""Where the frames of a training are read, and the order in which to read them."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from training.data.packing import Packing
from weather.grids import Grid


@runtime_checkable
class FrameReader(Protocol):
    """The frames of a record, ascending by `valid_times`; those with equal `chunk_ids` are stored together."""

    grid: Grid
    variables: tuple[str, ...]
    valid_times: NDArray[Any]
    chunk_ids: NDArray[np.int64]
    packing: Packing

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return frames (frame, variable, latitude, longitude) in physical units, in any order; threads may call it."""


def list_runs(indices: NDArray[np.int64], chunk_ids: NDArray[np.int64], max_frames: int) -> Iterator[NDArray[np.int64]]:
    """Yield ascending `indices` in runs of whole adjacent chunks, each of at most `max_frames` or of one chunk."""
    if not len(indices):
        return
    chunks = chunk_ids[indices]
    begins = np.flatnonzero(np.diff(chunks, prepend=chunks[0] - 1)).tolist()
    first = 0
    ends = [*begins[1:], len(indices)]
    for begin, end in zip(begins[1:], ends[1:], strict=True):
        is_adjacent = chunks[begin] == chunks[begin - 1] + 1
        if end - first > max_frames or not is_adjacent:
            yield indices[first:begin]
            first = begin
    yield indices[first:]
