"""What an optimiser step costs: operations, memory that its backward pass needs, and memory traffic."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

_NO_TRAFFIC = ("aten::empty", "aten::_unsafe_view")
"""Beginnings of the names of operations that neither read nor write, although their schema marks no view."""


@dataclass(frozen=True)
class StepCounts:
    """The cost of a step.

    `flops` are those of its convolutions and matrix products, forward and backward; `saved_bytes` the tensors that the
    forward pass keeps for the backward pass; `moved_bytes` what all operations read and write; `largest_bytes` what the
    largest of them does.
    """

    seconds: float
    flops: int
    saved_bytes: int
    moved_bytes: int
    largest_bytes: int


def count_step(step: Callable[[], None], owned: Iterable[Tensor], device: torch.device) -> StepCounts:
    """Run `step` once and return what it cost.

    Tensors in `owned` (weights, inputs) exist without the step and are not counted as saved; others are counted once,
    however many parts of the graph refer to their memory.
    """
    saved = _SavedBytes(owned)
    traffic, flops = _Traffic(), FlopCounterMode(display=False)
    _wait(device)
    started = time.perf_counter()
    with flops, traffic, torch.autograd.graph.saved_tensors_hooks(saved.add, _keep):
        step()
    _wait(device)
    seconds = time.perf_counter() - started
    return StepCounts(seconds, flops.get_total_flops(), saved.total(), traffic.total, traffic.largest)


def time_step(step: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Return the mean duration of `repeats` steps in seconds."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    _wait(device)
    return (time.perf_counter() - started) / repeats


class _SavedBytes:
    """Sizes of the memory of saved tensors by its address; it is not freed before the backward pass."""

    def __init__(self, owned: Iterable[Tensor]) -> None:
        self._owned = {tensor.untyped_storage().data_ptr() for tensor in owned}
        self._sizes: dict[int, int] = {}

    def add(self, tensor: Tensor) -> Tensor:
        """Count the memory of a saved tensor, and return it unchanged."""
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in self._owned:
            self._sizes[memory.data_ptr()] = memory.nbytes()
        return tensor

    def total(self) -> int:
        """Return the sum over all memory."""
        return sum(self._sizes.values())


class _Traffic(TorchDispatchMode):
    """Adds up the sizes of the tensors that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.total = self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if not _moves_nothing(func):
            leaves = tree_leaves((args, kwargs, outputs))
            moved = sum(leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, Tensor))
            self.total += moved
            self.largest = max(self.largest, moved)
        return outputs


def _moves_nothing(func: Any) -> bool:
    """Return whether an operation only makes a view, or memory without content."""
    returns = func._schema.returns
    is_view = bool(returns) and all(each.alias_info is not None and not each.alias_info.is_write for each in returns)
    return is_view or func._schema.name.startswith(_NO_TRAFFIC)


def _keep(tensor: Tensor) -> Tensor:
    return tensor


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
