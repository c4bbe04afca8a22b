"""A pool of frames in memory: frames are read in whole chunks a little before they are used, and kept until then."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.frames import FrameReader, list_runs
from training.data.memory import MemoryPlan

_LEAD_PART = 8
"""Frames are read ahead for as many steps as use one in so many frames of the pool."""
_AHEAD_PARTS = 12
"""The pool looks ahead over as many steps as use, with repetitions, so many times the frames of the pool."""


class FramePool:
    """The frames of the steps of a training, which `fill` takes in order; at most `plan.pool_frames` are in memory.

    The pool looks ahead over the steps whose frames fit in it. When a chunk is read, all of its frames that these
    steps use are kept, and each frame is released after the last of them: a chunk is read once as long as the samples
    that need it are near each other. `frames_of_step` returns the indices of the frames that a step uses.
    """

    def __init__(
        self,
        reader: FrameReader,
        plan: MemoryPlan,
        frames_of_step: Callable[[int], NDArray[np.int64]],
        steps: range,
    ) -> None:
        self._reader, self._plan, self._frames_of_step, self._steps = reader, plan, frames_of_step, steps
        count = len(reader.valid_times)
        shape = (plan.pool_frames, len(reader.variables), *reader.grid.shape)
        self._frames = torch.zeros(shape, dtype=reader.packing.dtype)
        self._free = np.arange(plan.pool_frames)[::-1].tolist()
        self._slots = np.full(count, -1, np.int64)
        self._uses = np.zeros(count, np.int32)
        self._reads = dict[int, Future[None]]()
        self._read_of = np.full(count, -1, np.int64)
        self._num_reads, self._num_used = 0, 0
        self._ahead, self._scheduled = steps.start, steps.start
        self._executor = ThreadPoolExecutor(plan.num_threads, "read")

    def __enter__(self) -> "FramePool":
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def fill(self, step: int, indices: NDArray[np.int64], out: Tensor) -> None:
        """Copy the packed frames at `indices`, which are those of `step`, to `out`; raises what reading raises."""
        used = np.unique(indices)
        self._look_ahead(step, step + _AHEAD_PARTS * self._plan.pool_frames // len(used) + 1)
        if self._scheduled <= step + 1:
            self._schedule(step + max(self._plan.pool_frames // (_LEAD_PART * len(used)), 2))
        for number in np.unique(self._read_of[used]).tolist():
            if number >= 0:
                self._reads.pop(number).result()
                self._read_of[self._read_of == number] = -1
        torch.index_select(self._frames, 0, torch.from_numpy(self._slots[indices]), out=out)
        self._uses[used] -= 1
        self._release(used[self._uses[used] == 0])

    def _look_ahead(self, step: int, last: int) -> None:
        """Count the uses of frames by the steps before `last`, as long as the frames fit in the pool."""
        while self._ahead < min(last, self._steps.stop):
            used = np.unique(self._frames_of_step(self._ahead))
            new = int((self._uses[used] == 0).sum())
            if self._num_used + new > self._plan.pool_frames:
                assert self._ahead > step, "the frames of one step fit in the pool"
                return
            self._uses[used] += 1
            self._num_used += new
            self._ahead += 1

    def _schedule(self, last: int) -> None:
        """Let the threads read what the steps before `last` need, and with it all that will be used of these chunks."""
        steps = range(self._scheduled, min(last, self._ahead))
        if not len(steps):
            return
        self._scheduled = steps.stop
        needed = np.unique(np.concatenate([self._frames_of_step(step) for step in steps]))
        chunk_ids = self._reader.chunk_ids
        chunks = np.unique(chunk_ids[needed[self._slots[needed] < 0]])
        in_chunks = np.flatnonzero(np.isin(chunk_ids, chunks)) if len(chunks) else chunks
        for run in list_runs(in_chunks, chunk_ids, self._plan.run_frames):
            kept = np.flatnonzero((self._uses[run] > 0) & (self._slots[run] < 0))
            slots = np.array([self._free.pop() for _ in kept], np.int64)
            self._slots[run[kept]] = slots
            self._read_of[run[kept]] = self._num_reads
            self._reads[self._num_reads] = self._executor.submit(self._read, run, kept, slots)
            self._num_reads += 1

    def _read(self, run: NDArray[np.int64], kept: NDArray[np.int64], slots: NDArray[np.int64]) -> None:
        frames = self._reader.read(run)[kept]
        self._frames.index_copy_(0, torch.from_numpy(slots), self._reader.packing.pack(frames, run[kept]))

    def _release(self, frames: NDArray[np.int64]) -> None:
        self._free.extend(self._slots[frames].tolist())
        self._slots[frames] = -1
        self._num_used -= len(frames)
