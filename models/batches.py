"""Forecast steps in batches of members: a batch size that fits into memory, and the fastest one."""

import gc
import time
from collections.abc import Callable, Iterable

import numpy as np
import torch

from models.errors import OutOfMemoryError
from models.rollout import Stepper
from models.shapes import Fields, Frames

SIZES = (8, 16, 32, 64, 128, 256)
"""Batch sizes that `measure_best_batch_size` tries, in order."""

_MAX_TIME_RATIO = 0.95
"""Largest time per member of a larger batch, over that of the best one so far, at which it is preferred to that one."""

_DEVICE_STEPS = 5
"""Steps by which a batch size is timed on a GPU: the first are launched singly, the third is recorded."""

_CPU_ALLOCATION_FAILED = "can't allocate memory"
"""Part of the message of PyTorch's CPU allocator, which raises a plain `RuntimeError`."""


class BatchedStepper:
    """Advance members in batches of at most `size`; `size` is halved when memory runs out, and never increased.

    Noise is an argument, so a step that is repeated in smaller batches uses the same noise; its states differ from
    those of the undivided batch by rounding only.
    """

    def __init__(self, stepper: Stepper, size: int) -> None:
        self.spec, self.device, self.size = stepper.spec, stepper.device, size
        self._stepper = stepper

    def step(self, frames: Frames, valid_time: np.datetime64, noise: Fields) -> Fields:
        """Return the states one time step after the newest of `frames` (newest first), whose time is `valid_time`.

        Raises `OutOfMemoryError` if a single member does not fit into memory.
        """
        while True:
            try:
                if len(noise) <= self.size:
                    return self._stepper.step(frames, valid_time, noise)
                batches = zip(*(torch.split(fields, self.size) for fields in (noise, *frames)), strict=True)
                states = [
                    self._stepper.step(frames_part, valid_time, noise_part) for noise_part, *frames_part in batches
                ]
                return torch.cat(states)
            except torch.OutOfMemoryError as error:
                detail = str(error)
            except RuntimeError as error:
                if _CPU_ALLOCATION_FAILED not in str(error):
                    raise
                detail = str(error)
            self._halve(min(self.size, len(noise)), detail)

    def _halve(self, size: int, detail: str) -> None:
        """Set `self.size` to half of `size`, which did not fit, and release cached memory.

        Call it outside the `except` block: the exception's traceback keeps the tensors that did not fit alive.
        """
        if size == 1:
            raise OutOfMemoryError(
                f"A single member does not fit into the memory of {self.device}: {detail.splitlines()[0]}"
            )
        self.size = size // 2
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def measure_best_batch_size(
    stepper: Stepper, sizes: Iterable[int] = SIZES, clock: Callable[[], float] = time.perf_counter
) -> int:
    """Try `sizes` in order and return the one after which a step gets no faster per member, or memory runs out.

    The first size is halved until it fits. `clock` returns the time in seconds. Raises `OutOfMemoryError` if a
    single member does not fit.
    """
    best, fastest = 0, float("inf")
    for size in sizes:
        batched = BatchedStepper(stepper, size)
        seconds = _seconds_per_member(batched, size, clock)
        if best and batched.size < size:
            break
        if seconds > _MAX_TIME_RATIO * fastest:
            break
        best, fastest = batched.size, seconds
    return best


def _seconds_per_member(batched: BatchedStepper, size: int, clock: Callable[[], float]) -> float:
    """Return the wall time per member of a step, the shortest of some, as the first include warm-up and recording."""
    spec, device = batched.spec, batched.device
    shape = (size, len(spec.variables), *spec.grid.grid.shape)
    frames = [torch.zeros(shape, device=device) for _ in range(spec.context_frames)]
    seconds = []
    for _ in range(2 if device.type == "cpu" else _DEVICE_STEPS):
        began = clock()
        batched.step(frames, np.datetime64("2000-01-01T00", "s"), frames[0]).sum().item()
        seconds.append(clock() - began)
    return min(seconds) / size
