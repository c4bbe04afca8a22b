"""States on their way from a device to host memory, beside the computation."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Fetch = Callable[[], NDArray[np.float32]]
"""Waits for the copy and returns it."""


class HostCopies:
    """Begins copies to host memory: on CUDA on a stream of its own into pinned memory, on the CPU there is none."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def begin(self, states: Tensor) -> Fetch:
        """Begin to copy `states`, which nobody changes; another thread may fetch them."""
        if self._stream is None:
            return states.numpy
        host = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(states.device))
        with torch.cuda.stream(self._stream):
            host.copy_(states, non_blocking=True)
            states.record_stream(self._stream)
            done = self._stream.record_event()

        def fetch() -> NDArray[np.float32]:
            done.synchronize()
            return host.numpy()

        return fetch
