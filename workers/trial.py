"""How many members of a checkpoint a device computes together best, found by trying."""

import time
from collections.abc import Iterable

import numpy as np
import torch

from models.batches import BatchedStepper
from models.rollout import Stepper

SIZES = (8, 16, 32, 64, 128, 256)
_WORTH = 0.95
"""A larger batch must take at most this part of the time a member: memory and early results speak for small ones."""


def best_batch_size(stepper: Stepper, sizes: Iterable[int] = SIZES) -> int:
    """Return the size beyond which a step becomes no faster a member, or memory ends.

    The first size is halved where it does not fit. Raises `OutOfMemoryError` where not one member fits.
    """
    best, fastest = 0, float("inf")
    for size in sizes:
        batches = BatchedStepper(stepper, size)
        seconds = _seconds_a_member(batches, size)
        if best and batches.size < size:
            break
        if seconds > _WORTH * fastest:
            break
        best, fastest = batches.size, seconds
    return best


def _seconds_a_member(batches: BatchedStepper, size: int) -> float:
    """Return the shorter of two steps' wall time a member; the first may have to warm up."""
    spec, device = batches.spec, batches.device
    frame = torch.zeros(size, len(spec.variables), *spec.grid.grid.shape, device=device)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        batches.step(frame, frame.clone(), np.datetime64("2000-01-01T00", "s"), frame).sum().item()
        seconds.append(time.perf_counter() - began)
    return min(seconds) / size
