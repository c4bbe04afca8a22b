"""Whole optimiser steps as CUDA graphs: the kernels of a step are recorded once, then launched by one call."""

from collections.abc import Callable

import torch

from models.graphs import Graphs
from training.losses import StepInputs

_EAGER_STEPS = 3
"""Steps before the recording, in which cuBLAS, cuDNN, autograd and the optimiser allocate what they keep."""


class RecordedStep:
    """An optimiser step that is recorded after its first calls; all inputs must have the same shapes."""

    def __init__(self, step: Callable[[StepInputs], None], graphs: Graphs) -> None:
        self._step, self._graphs = step, graphs
        self._inputs: StepInputs | None = None
        self._calls = 0
        self._replay: Callable[[], None] | None = None

    def __call__(self, inputs: StepInputs) -> None:
        """Copy `inputs` to the memory of the recording and make the step."""
        if self._inputs is None:
            self._inputs = inputs.map(torch.clone)
        else:
            for own, new in zip(self._inputs.tensors().values(), inputs.tensors().values(), strict=True):
                own.copy_(new, non_blocking=True)
        fixed = self._inputs
        self._calls += 1
        if self._calls <= _EAGER_STEPS:
            self._graphs.warm_up(lambda: self._step(fixed))
            return
        if self._replay is None:
            self._replay = self._graphs.record(lambda: self._step(fixed))
        self._replay()
