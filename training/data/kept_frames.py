"""Frames that are kept packed in memory, of the device or of the host."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.shapes import Fields
from training.data.frames import FrameReader, list_runs

_RUN_BYTES = 8 << 20
_THREADS = 2


class KeptFrames:
    """All frames of a record, packed, on `device`."""

    def __init__(self, reader: FrameReader, device: torch.device) -> None:
        self.packing, self.device = reader.packing, device
        count = len(reader.valid_times)
        shape = (count, len(reader.variables), *reader.grid.shape)
        self._frames = torch.empty(shape, dtype=self.packing.dtype, device=device)
        frame_bytes = 4 * int(np.prod(shape[1:]))
        runs = list(list_runs(np.arange(count), reader.chunk_ids, max(_RUN_BYTES // frame_bytes, 1)))
        for indices, packed in _read_packed(reader, runs):
            self._frames[int(indices[0]) : int(indices[-1]) + 1] = packed.to(device)

    def gather(self, indices: Tensor) -> Fields:
        """Return frames (frame, variable, latitude, longitude) in physical units, on the device of the record."""
        chosen = torch.index_select(self._frames, 0, indices.to(self.device, non_blocking=True))
        return self.packing.unpack(chosen, indices)

    def gather_packed(self, indices: Tensor, out: Tensor) -> None:
        """Copy packed frames of the host to `out`."""
        torch.index_select(self._frames, 0, indices, out=out)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return frames in physical units, on the host."""
        return np.asarray(self.gather(torch.from_numpy(np.asarray(indices, np.int64))).cpu().numpy())


def _read_packed(reader: FrameReader, runs: list[NDArray[np.int64]]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield runs of indices with their packed frames, read by several threads a few runs ahead."""

    def read(run: NDArray[np.int64]) -> Tensor:
        return reader.packing.pack(reader.read(run), run)

    with ThreadPoolExecutor(_THREADS, "read") as pool:
        for start in range(0, len(runs), 2 * _THREADS):
            part = runs[start : start + 2 * _THREADS]
            yield from zip(part, pool.map(read, part), strict=True)
