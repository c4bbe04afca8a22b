"""Pack frames in memory as the files store them: integers of 16 bits with a factor and an offset, or float32."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.shapes import Fields
from weather.errors import TrainingDataError

_ROUNDING = 0.25
"""Largest difference of values from the packed ones, in units of the factor: float32 rounds large values so much."""


class Packing:
    """How frames are kept in memory: float32 or, with `factor` and `offset` of each frame and variable, int16.

    Integers are packed without loss: q = (x − offset) / factor is the file's own integer.
    """

    def __init__(self, packings: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None) -> None:
        self.dtype = torch.float32 if packings is None else torch.int16
        self._packings = packings
        self._factor, self._offset = (
            (torch.zeros((0, 0)), torch.zeros((0, 0)))
            if packings is None
            else (torch.from_numpy(values) for values in packings)
        )

    def pack(self, frames: NDArray[np.float32], indices: NDArray[np.int64]) -> Tensor:
        """Return frames (frame, variable, latitude, longitude) that have the given indices in the record, packed.

        Raises `TrainingDataError` if a value is not a packed one.
        """
        if self._packings is None:
            return torch.from_numpy(frames)
        factor, offset = (values[indices][:, :, None, None] for values in self._packings)
        steps = (frames.astype(np.float64) - offset) / factor
        integers = np.rint(steps)
        if np.abs(steps - integers).max(initial=0.0) > _ROUNDING or np.abs(integers).max(initial=0.0) > 2**15:
            raise TrainingDataError("Values must be multiples of the `scale_factor` that the file states, in 16 bits.")
        return torch.from_numpy(integers.astype(np.int16))

    def unpack(self, packed: Tensor, indices: Tensor) -> Fields:
        """Return packed frames in physical units, float32, on the device of `packed`; `indices` are on the CPU.

        They are unpacked in float64, so that they are the same as those that are read.
        """
        if self._packings is None:
            return packed
        factor, offset = (
            values[indices].to(packed.device, non_blocking=True)[:, :, None, None]
            for values in (self._factor, self._offset)
        )
        return (packed * factor + offset).to(torch.float32)

    def frame_bytes(self, num_variables: int, shape: tuple[int, int]) -> int:
        """Return the bytes of a packed frame."""
        return num_variables * shape[0] * shape[1] * self.dtype.itemsize
