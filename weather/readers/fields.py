"""Values of arrays of frames, decoded when they are read, on the canonical grid and in the canonical unit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.readers.points import Points

_BLOCK_BYTES = 64_000_000
_CHUNK_BYTES = 4_000_000
"""Frames of files that do not store them in chunks are taken together up to this size."""


class ArrayField:
    """Values of an array with the dimensions `dims`, the last two of which are rows and columns of `points`.

    The array's own order of dimensions may be another one: what is read is transposed, because the libraries select
    single values from arrays that are transposed before they are read. Frames that are read one after another are
    decoded in blocks: data sets are often compressed over many times.
    """

    def __init__(self, array: xr.DataArray, dims: Sequence[str], points: Points, scaling: tuple[float, float]) -> None:
        self._array, self._dims, self._points, self._scaling = array, tuple(dims), points, scaling
        self._block, self._start, self._last = np.empty((0, 0, 0), np.float32), 0, -2

    def read(self, index: tuple[int, ...]) -> NDArray[np.float32]:
        """Return one field; missing values are NaN."""
        return self._convert(self._read_frame(index[0]) if len(index) == 1 else self._select(index))

    def read_frames(self, axis: int, offsets: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the fields (frame, latitude, longitude) at ascending offsets along a dimension; others have size 1."""
        steps = np.unique(np.diff(offsets))
        wanted: Any = offsets
        if len(steps) <= 1:
            step = int(steps[0]) if len(steps) else 1
            wanted = slice(int(offsets[0]), int(offsets[-1]) + 1, step)
        others = len(self._dims) - 2
        return self._convert(self._select(tuple(wanted if other == axis else 0 for other in range(others))))

    @property
    def packing(self) -> tuple[float, float] | None:
        """Factor and offset of the file's integers of at most 16 bits, in the canonical unit; None for other types.

        The integers of an unsigned type are counted from the middle of its range.
        """
        encoding = self._array.encoding
        dtype = np.dtype(encoding.get("dtype", np.float32))
        if dtype.kind not in "iu" or dtype.itemsize > 2:
            return None
        factor, offset = float(encoding.get("scale_factor", 1.0)), float(encoding.get("add_offset", 0.0))
        if dtype.kind == "u":
            offset += factor * 2 ** (8 * dtype.itemsize - 1)
        return factor * self._scaling[0], offset * self._scaling[0] + self._scaling[1]

    def count_chunk_frames(self, axis: int) -> int:
        """Return how many frames along a dimension the file stores together."""
        encoding = self._array.encoding
        chunks = encoding.get("chunks") or encoding.get("chunksizes")
        size = self._array.sizes[self._dims[axis]]
        if chunks and len(chunks) == self._array.ndim:
            return min(int(chunks[self._array.dims.index(self._dims[axis])]), size)
        frame_bytes = 4 * self._array.sizes[self._dims[-1]] * self._array.sizes[self._dims[-2]]
        return min(max(_CHUNK_BYTES // frame_bytes, 1), size)

    def _convert(self, values: NDArray[Any]) -> NDArray[np.float32]:
        factor, offset = self._scaling
        if self._scaling != (1.0, 0.0):
            values = values.astype(np.float64) * factor + offset
        return np.ascontiguousarray(self._points.arrange(values), np.float32)

    def _select(self, index: tuple[Any, ...]) -> NDArray[Any]:
        """Return the values (…, row, column) at an index of each other dimension."""
        at = dict(zip(self._dims, index, strict=False))
        values = self._array[at].values
        kept = [dim for dim in self._array.dims if not isinstance(at.get(str(dim)), int)]
        order = [kept.index(dim) for dim in self._dims if dim in kept]
        return values.transpose(order)

    def _read_frame(self, index: int) -> NDArray[Any]:
        if not self._start <= index < self._start + len(self._block):
            count = self._array.sizes[self._dims[0]]
            frame_bytes = 8 * (self._array.size // count)
            size = max(1, _BLOCK_BYTES // frame_bytes) if index == self._last + 1 else 1
            self._start, self._block = index, self._select((slice(index, min(index + size, count)),))
        self._last = index
        frame: NDArray[Any] = self._block[index - self._start]
        return frame
