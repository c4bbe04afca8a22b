"""Load the batches of consecutive optimiser steps ahead of their use."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.batch import Batch
from training.data.training_data import TrainingData

IndicesOfStep = Callable[[int], NDArray[np.int64]]
"""The indices of the newest frames of this process's samples of an optimiser step."""


class Loader:
    """The batches of `steps`, in order, each on `device`; `close` stops reading, also at the end of a `with` block."""

    def __init__(
        self,
        data: TrainingData,
        indices_of_step: IndicesOfStep,
        steps: range,
        device: torch.device,
        memory_bytes: int = 4 << 30,
    ) -> None:
        self._data, self._indices_of_step, self._steps, self._device = data, indices_of_step, steps, device
        self._memory_bytes = memory_bytes

    def __iter__(self) -> Iterator[Batch]:
        for step in self._steps:
            yield self._data.batch(self._indices_of_step(step), self._device)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading."""
