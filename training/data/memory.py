"""How the memory that a loader is given is divided: frames in use, chunks that are being read, batches made ahead."""

from dataclasses import dataclass

import numpy as np

from storage.errors import ConfigurationError
from training.data.training_data import TrainingData

AHEAD = 2
"""Batches that are made ahead of their use."""
_COPIES = 4
"""Arrays of the size of a run of chunks while it is read: as stored, decoded, arranged and packed."""
_MAX_RUN_BYTES = 8 << 20
_READING_SHARE = 0.3
"""Largest part of the memory for the chunks that are being read."""

_RESERVE = 0.05
"""Part of the memory for what the libraries allocate beside that."""


@dataclass(frozen=True)
class MemoryPlan:
    """Number of frames in the pool, of frames that one thread reads at once, and of threads."""

    pool_frames: int
    run_frames: int
    num_threads: int

    @classmethod
    def of(cls, data: TrainingData, memory_bytes: int, batch_size: int, max_threads: int = 2) -> "MemoryPlan":
        """Return the plan for batches of `batch_size` samples.

        Raises `ConfigurationError` if not even one chunk and the frames of one batch fit.
        """
        frame_bytes = 4 * len(data.variables) * int(np.prod(data.grid.shape))
        read_bytes = _COPIES * frame_bytes
        batch_frames = data.frames_per_sample * batch_size
        batches_bytes = (AHEAD + 1) * batch_frames * data.frame_bytes
        chunk_frames = int(np.bincount(data.reader.chunk_ids).max())
        num_threads = max_threads
        while num_threads > 1 and num_threads * chunk_frames * read_bytes > _READING_SHARE * memory_bytes:
            num_threads -= 1
        affordable = int(_READING_SHARE * memory_bytes) // (num_threads * read_bytes)
        run_frames = max(chunk_frames, min(affordable, _MAX_RUN_BYTES // frame_bytes))
        free = int((1 - _RESERVE) * memory_bytes) - batches_bytes - num_threads * run_frames * read_bytes
        needed = max(2 * batch_frames, 2 * chunk_frames)
        if free < needed * data.frame_bytes:
            least = (batches_bytes + chunk_frames * read_bytes + needed * data.frame_bytes) / (1 - _RESERVE)
            raise ConfigurationError(
                f"The memory of the loader must be at least {least / 2**30:.3f} GiB for batches of {batch_size} "
                f"samples and chunks of {chunk_frames} frames. Got: {memory_bytes / 2**30:.3f} GiB."
            )
        pool_frames = min(free // data.frame_bytes, len(data.valid_times))
        return cls(pool_frames, run_frames, num_threads)
