"""The processes of a training, one for each device: their shares of a batch, and what they exchange.

They are started by `torchrun` or by `--processes`. The first one reads and writes all files of the output, validates
and reports; the others wait for it without limit of time. When a process ends, the others end at their next exchange.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.errors import ProcessEndedError

_NO_LIMIT = timedelta(days=365)
_MEETING_LIMIT = timedelta(minutes=5)
"""Time for which processes wait for each other at the start and within a step: a lost one ends the others then."""
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a training, and which one of them this is; by default it is the only one."""

    rank: int = 0
    count: int = 1
    waiting: dist.ProcessGroup | None = None
    """The group in which processes wait for each other without limit of time."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes, validates and reports."""
        return self.rank == 0

    def share(self, size: int) -> slice:
        """Return this process's part of the samples of a batch of `size`, which `count` divides."""
        part = size // self.count
        return slice(self.rank * part, (self.rank + 1) * part)

    def average_gradients(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over all processes in each backward pass."""
        if self.count == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, forward_sync_buffers=False)

    def add_up(self, tensor: Tensor) -> None:
        """Replace `tensor`, which is on the device, by its sum over all processes."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def largest(self, number: int) -> int:
        """Return the largest `number` of all processes, which wait for each other."""
        if self.count == 1:
            return number
        numbers = torch.tensor([number])
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self.waiting)
        return int(numbers.item())

    def is_any(self, flag: bool) -> bool:
        """Return whether `flag` is set in any process; all of them wait for each other."""
        return bool(self.largest(int(flag)))

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.is_any(flag=False)

    def from_first(self, compute: Callable[[], T]) -> T:
        """Return what `compute` returns in the first process, the only one that calls it; the others wait for it."""
        if self.count == 1:
            return compute()
        values = [compute() if self.is_first else None]
        dist.broadcast_object_list(values, src=0, group=self.waiting)
        return cast("T", values[0])


@contextmanager
def join_processes(device: torch.device) -> Iterator[Processes]:
    """Yield the processes of this training as the environment of `torchrun` describes them, connected in the block."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=device, timeout=_MEETING_LIMIT)
    else:
        dist.init_process_group("gloo", timeout=_MEETING_LIMIT)
    try:
        waiting = dist.new_group(backend="gloo", timeout=_NO_LIMIT)
        with _explain_lost_processes():
            yield Processes(dist.get_rank(), count, waiting)
    finally:
        dist.destroy_process_group()


def keep_gradients_local(module: nn.Module) -> AbstractContextManager[object]:
    """Return a context in which backward passes add to this process's gradients without averaging them."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        context: AbstractContextManager[object] = module.no_sync()
        return context
    return nullcontext()


@contextmanager
def _explain_lost_processes() -> Iterator[None]:
    """Raise `ProcessEndedError` for an exchange in the block that fails because another process has ended."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise ProcessEndedError from error
        raise
