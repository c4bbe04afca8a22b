"""Diagnostics and summaries on a GPU: the operations of each are recorded once, then launched by one call."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diagnostics.finite_members import Apply, OfGroups, apply_to_finite, finite_mask, select_members
from diagnostics.scores.arrays import Array, to_numpy
from models.graphs import CudaGraphs, Graphs, RecordedFunction
from workers.transfers import sleeping_event

_MAX_FUNCTIONS = 6
"""Functions that are kept with their recordings: diagnostics and summary of three kinds of forecasts."""


class RecordedProducts:
    """Apply functions to the finite members of groups as `apply_to_finite` does, in one thread at a time.

    As long as no member is lost, which is checked afterwards, a function is launched at once and waited for once.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self._recorded: dict[Hashable, RecordedFunction] = {}

    def __call__(
        self, key: Hashable, function: OfGroups, groups: Sequence[Array]
    ) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Return a mask of the finite members of all groups, and `function` of these members, in host memory.

        It is not recorded for groups in host memory, with a lost member, or where too little memory is free.
        """
        if not all(isinstance(group, Tensor) for group in groups):
            return apply_to_finite(key, function, groups)
        try:
            mask, values = _copy_to_host(self._find(key, function)(*groups))
        except torch.OutOfMemoryError:
            self._recorded.clear()
            return apply_to_finite(key, function, groups)
        return mask, values if mask.all() else to_numpy(function(select_members(groups, mask)))

    def _find(self, key: Hashable, function: OfGroups) -> RecordedFunction:
        if key not in self._recorded:
            while len(self._recorded) >= _MAX_FUNCTIONS:
                del self._recorded[next(iter(self._recorded))]

            def with_mask(*groups: Tensor) -> tuple[Tensor, ...]:
                return finite_mask(groups), function(groups)

            self._recorded[key] = RecordedFunction("Products of lead times", with_mask, self._graphs)
        return self._recorded[key]


def recorded_on(device: torch.device) -> Apply:
    """Return how products of lead times are computed by a worker on `device`: recorded on a GPU."""
    return RecordedProducts(CudaGraphs(device, is_urgent=True)) if device.type == "cuda" else apply_to_finite


def _copy_to_host(results: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Return copies in host memory; those from a GPU are launched together and waited for once."""
    device = results[0].device
    if device.type != "cuda":
        return [result.numpy() for result in results]
    copies = [torch.empty(result.shape, dtype=result.dtype, pin_memory=True) for result in results]
    for copy, result in zip(copies, results, strict=True):
        copy.copy_(result, non_blocking=True)
    torch.cuda.current_stream(device).record_event(sleeping_event()).synchronize()
    return [copy.numpy() for copy in copies]
