"""Load the batches of consecutive optimiser steps ahead of their use."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.batch import Batch
from training.data.buffers import empty_buffer
from training.data.memory import AHEAD, MemoryPlan
from training.data.pool import FramePool
from training.data.training_data import DEFAULT_MEMORY_BYTES, TrainingData

IndicesOfStep = Callable[[int], NDArray[np.int64]]
"""The indices of the newest frames of this process's samples of an optimiser step."""

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class _Staged:
    """The samples of a step on the host: indices of their frames, packed frames unless they are on the device."""

    indices: Tensor
    frames: Tensor | None
    features: Tensor


class Loader:
    """The batches of `steps`, in order, each on `device`; a thread makes them ahead.

    Frames in memory (`TrainingData.keep`) are gathered; others are read in whole chunks by further threads, in at most
    `memory_bytes` of memory whatever the length of the record. An error in a thread is raised by the step that it
    concerns. Iterate once; `close` stops the threads, also at the end of a `with` block.
    """

    def __init__(
        self,
        data: TrainingData,
        indices_of_step: IndicesOfStep,
        steps: range,
        device: torch.device,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
    ) -> None:
        self._data, self._indices_of_step, self._steps, self._device = data, indices_of_step, steps, device
        self._memory_bytes, self._is_pinned = memory_bytes, device.type == "cuda"
        self._ready = Queue[_Staged | BaseException](AHEAD)
        self._stop, self._thread = Event(), Thread(target=self._run, name="loader", daemon=True)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        self._thread.start()
        try:
            for _ in self._steps:
                staged = self._ready.get()
                if isinstance(staged, BaseException):
                    raise staged
                yield self._to_batch(staged)
        finally:
            self.close()

    def close(self) -> None:
        """Stop the threads and wait for their end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _to_batch(self, staged: _Staged) -> Batch:
        """Return the batch on the device: packed frames are copied, and unpacked there."""
        data = self._data
        if staged.frames is None:
            assert data.kept is not None
            frames = data.kept.gather(staged.indices)
        else:
            packed = staged.frames.to(self._device, non_blocking=self._is_pinned)
            frames = data.reader.packing.unpack(packed, staged.indices)
        features = staged.features.to(self._device, non_blocking=self._is_pinned)
        return data.assemble(frames.reshape(-1, features.shape[1], *frames.shape[1:]), features)

    def _run(self) -> None:
        """Make the batches, until all are made or the loader is closed."""
        try:
            self._make_batches()
        except BaseException as error:
            self._put(error)

    def _make_batches(self) -> None:
        is_stream = self._data.kept is None and len(self._steps) > 0
        with self._open_pool() if is_stream else nullcontext() as pool:
            for step in self._steps:
                samples = np.asarray(self._indices_of_step(step), np.int64)
                indices = self._data.sample_frames(samples).reshape(-1)
                features = torch.from_numpy(self._data.sample_features(samples))
                frames = self._gather(step, indices, pool)
                if self._is_pinned:
                    features = features.pin_memory()
                if not self._put(_Staged(torch.from_numpy(indices), frames, features)):
                    return

    def _gather(self, step: int, indices: NDArray[np.int64], pool: FramePool | None) -> Tensor | None:
        """Return packed frames on the host, or None if they are on the device."""
        kept, data = self._data.kept, self._data
        if kept is not None and kept.device.type != "cpu":
            return None
        shape = (len(indices), len(data.variables), *data.grid.shape)
        frames = empty_buffer(shape, data.reader.packing.dtype, is_pinned=self._is_pinned)
        if kept is not None:
            kept.gather_packed(torch.from_numpy(indices), frames)
        elif pool is not None:
            pool.fill(step, indices, frames)
        return frames

    def _open_pool(self) -> FramePool:
        batch_size = len(self._indices_of_step(self._steps.start))
        plan = MemoryPlan.of(self._data, self._memory_bytes, batch_size)

        def frames_of_step(step: int) -> NDArray[np.int64]:
            return self._data.sample_frames(self._indices_of_step(step)).reshape(-1)

        return FramePool(self._data.reader, plan, frames_of_step, self._steps)

    def _put(self, item: _Staged | BaseException) -> bool:
        """Hand an item to the training; return whether it was taken before the loader was closed."""
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
            except Full:
                continue
            return True
        while True:
            try:
                self._ready.get_nowait()
            except Empty:
                return False
