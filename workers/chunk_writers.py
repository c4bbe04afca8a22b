"""Chunks of computed lead times, encoded and written by several threads before the lead times are committed."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from weather.stores.ensemble import EnsembleStore
from workers.rollouts import GroupStates

MAX_BYTES_AHEAD = 2**29
"""Bytes of states that may wait for their output, besides the newest."""
MAX_LEAD_TIMES_AHEAD = {"cpu": 2, "cuda": 4}
"""Lead times of groups that may wait for their output, if they are small: beside a GPU output lags behind further."""


@dataclass(frozen=True)
class StagedLeadTime:
    """A lead time of a group whose variables are being written to `store`."""

    states: GroupStates
    store: EnsembleStore
    variables: Sequence["Future[NDArray[np.bool_]]"]

    @property
    def is_written(self) -> bool:
        """Whether all variables are written; false if one could not be, which `complete` raises."""
        return all(
            variable.done() and not variable.cancelled() and variable.exception() is None for variable in self.variables
        )

    def complete(self) -> NDArray[np.float32]:
        """Wait for all variables, mark the lead time complete in `store`, and return its fields in host memory.

        Raises the error of a variable that could not be written. The mark has yet to be flushed.
        """
        is_finite = np.logical_and.reduce([variable.result() for variable in self.variables])
        self.store.mark_complete(self.states.group, self.states.lead_index, is_finite)
        return self.states.fetch()

    def sync(self) -> None:
        """Flush the lead time, and all before it, to storage that survives a crash of the machine."""
        self.store.sync_mark(self.states.group, self.states.lead_index)


class ChunkWriters:
    """Threads that encode and write variables; `measure` is a context manager in which each of them is written."""

    def __init__(self, threads: int, measure: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._measure = measure
        self._pool = ThreadPoolExecutor(threads, "chunks")

    def __enter__(self) -> Self:
        """Return the writers; threads start when they are needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the variables that are being written, and drop all others."""
        self._pool.shutdown(cancel_futures=True)

    def begin(self, states: GroupStates, store: EnsembleStore) -> StagedLeadTime:
        """Begin to write the variables of a lead time of a group to `store`."""

        def write(channel: int) -> NDArray[np.bool_]:
            fields = states.fetch()
            with self._measure():
                return store.write_variable(states.group, states.lead_index, channel, fields)

        channels = range(len(store.layout.variables))
        written = [self._pool.submit(copy_context().run, write, channel) for channel in channels]
        return StagedLeadTime(states, store, written)


def lead_times_ahead(group_bytes: int, device: torch.device) -> int:
    """Return how many lead times of a group, of `group_bytes` each, may wait for their output beside `device`."""
    return max(1, min(MAX_LEAD_TIMES_AHEAD[device.type], MAX_BYTES_AHEAD // group_bytes))
