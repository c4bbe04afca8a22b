"""Buffers of batches that leave no holes in the heap."""

import math
import mmap

import torch
from torch import Tensor

_POPULATE = getattr(mmap, "MAP_POPULATE", 0)


def empty_buffer(shape: tuple[int, ...], dtype: torch.dtype, *, is_pinned: bool) -> Tensor:
    """Return a tensor on the host, pinned if it is copied to a GPU, else in a memory mapping of its own.

    A mapping is returned to the system when its tensor is released. Blocks of megabytes on the heap, which one thread
    allocates and another one frees, would let resident memory grow for as long as a training runs.
    """
    if is_pinned:
        return torch.empty(shape, dtype=dtype, pin_memory=True)
    mapping = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _POPULATE)
    return torch.frombuffer(mapping, dtype=dtype, count=math.prod(shape)).reshape(shape)
