"""The order of samples in an epoch: a permutation or, for data that is read in chunks, one of limited reach."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from storage.errors import ConfigurationError
from training.data.memory import MemoryPlan
from training.data.training_data import TrainingData
from weather.periods import Period

_MAX_LANES = 8
"""Most parts of a batch that are taken from different parts of the record."""
_BLOCK_CHUNKS = 8
"""Chunks of a block: its samples need frames of the chunks before and after it, which are read again for others."""


class SampleOrder:
    """The samples of each optimiser step over all processes, in random order; each epoch has every sample once.

    The samples that are left at the end of an epoch, fewer than a batch, are dropped. Data in memory is permuted as a
    whole. Data that is read from files is cut into blocks of adjacent chunks. The blocks are permuted, and each sample
    is moved later by a random distance of at most `reach` samples, so that every block is read once and a batch mixes
    `reach` samples. A batch consists of `lanes` equal parts, each with a part of the blocks of its own: processes that
    take contiguous shares read different chunks. The order is a function of the arguments: it does not depend on the
    number of processes nor on where a training was interrupted.
    """

    def __init__(
        self, data: TrainingData, years: Sequence[Period], batch_size: int, seed: int, memory_bytes: int
    ) -> None:
        self._samples, self._batch_size, self._seed = data.sample_indices(years), batch_size, seed
        if batch_size > len(self._samples):
            raise ConfigurationError(
                f"`batch_size` must be at most the number of samples, {len(self._samples)}. Got: {batch_size}."
            )
        self.steps_per_epoch = len(self._samples) // batch_size
        self.lanes, self.reach, self._blocks = 1, len(self._samples), np.zeros(len(self._samples), np.int64)
        if data.kept is None:
            self._limit_reach(data, MemoryPlan.of(data, memory_bytes, batch_size).pool_frames)
        self._epoch = lru_cache(2)(self._order_epoch)

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the newest frames of the samples of optimiser step `step` (from 0)."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        positions: NDArray[np.int64] = self._epoch(epoch)[batch]
        return self._samples[positions]

    def _limit_reach(self, data: TrainingData, pool_frames: int) -> None:
        """Choose lanes, blocks and reach so that the frames that are used within the reach fit in the pool.

        At most 2 · reach frames are in use, and in each lane those of two blocks with their neighbours.
        """
        if pool_frames == len(data.valid_times):
            return
        chunk_ids = data.reader.chunk_ids
        chunk_frames = len(chunk_ids) / (int(chunk_ids[-1]) + 1)
        wanted = data.sample_frames(self._samples)
        margin = int((wanted.max(axis=0) - wanted.min(axis=0)).max())
        lanes, chunks = math.gcd(self._batch_size, _MAX_LANES), _BLOCK_CHUNKS

        def in_use() -> int:
            return 2 * lanes * (math.ceil(chunks * chunk_frames) + margin)

        while chunks > 1 and in_use() > pool_frames // 2:
            chunks //= 2
        while lanes > 1 and in_use() > pool_frames // 2:
            lanes //= 2
        self.lanes, self.reach = lanes, min(max((pool_frames - in_use()) // 2, lanes), len(self._samples))
        self._blocks = chunk_ids[self._samples] // chunks

    def _order_epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the positions of the samples of each step of an epoch, (step, sample)."""
        draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([self._seed, 0, epoch])))
        if self.reach == len(self._samples):
            order = draw.permutation(len(self._samples))
            return order[: self.steps_per_epoch * self._batch_size].reshape(self.steps_per_epoch, -1)
        _, numbers = np.unique(self._blocks, return_inverse=True)
        order = np.argsort(draw.permutation(int(numbers.max()) + 1)[numbers], kind="stable")
        lanes = order[: self.steps_per_epoch * self._batch_size].reshape(self.lanes, -1)
        moved = np.arange(lanes.shape[1]) + draw.random(lanes.shape) * (self.reach / self.lanes)
        shuffled = np.take_along_axis(lanes, np.argsort(moved, axis=1), axis=1)
        steps = shuffled.reshape(self.lanes, self.steps_per_epoch, -1).transpose(1, 0, 2)
        return steps.reshape(self.steps_per_epoch, self._batch_size)
