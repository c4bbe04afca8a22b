"""Copies of states and noise between the host and a device, beside what is computed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Fetch = Callable[[], NDArray[np.float32]]
"""Wait for a copy to finish and return it: float32 (member, variable, latitude, longitude)."""


@dataclass(frozen=True)
class DeviceStates:
    """States on a device: float32 (member, variable, latitude, longitude), and on CUDA the event that follows them."""

    states: Tensor
    computed: torch.cuda.Event | None = None

    def tensor(self) -> Tensor:
        """Return the states, for use on the current stream of this thread, which waits until they are computed."""
        if self.computed is not None:
            stream = torch.cuda.current_stream(self.states.device)
            stream.wait_event(self.computed)
            self.states.record_stream(stream)
        return self.states


def sleeping_event() -> torch.cuda.Event:
    """Return an event whose waiting threads sleep; those of another one spin, each on a processor of its own."""
    return torch.cuda.Event(blocking=True)


class Transfers:
    """Copies between host and device: on CUDA by two streams, beside what is computed; on the CPU nothing is copied.

    PyTorch hands out 32 streams, then the same ones again: a process makes few, so that none has two uses.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, is_cuda = device, device.type == "cuda"
        self._down = torch.cuda.Stream(device) if is_cuda else None
        self._up = torch.cuda.Stream(device) if is_cuda else None

    def to_host(self, states: Tensor) -> tuple[DeviceStates, Fetch]:
        """Start to copy `states`; return them, and a function for any thread, which waits for the copy and returns it.

        On the CPU the array shares memory with `states`. They may not change as long as either is used.
        """
        if self._down is None:
            return DeviceStates(states), states.numpy
        computed = torch.cuda.current_stream(states.device).record_event()
        host = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
        self._down.wait_event(computed)
        with torch.cuda.stream(self._down):
            host.copy_(states, non_blocking=True)
            states.record_stream(self._down)
            copied = self._down.record_event(sleeping_event())

        def fetch() -> NDArray[np.float32]:
            copied.synchronize()
            return host.numpy()

        return DeviceStates(states, computed), fetch

    def to_device(self, fields: Tensor) -> Tensor:
        """Start to copy `fields`, which are pinned; return the copy, for which later work on the current stream waits.

        On the CPU they are returned themselves.
        """
        if self._up is None:
            return fields
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._up):
            copy = fields.to(self._device, non_blocking=True)
        current.wait_stream(self._up)
        copy.record_stream(current)
        return copy
