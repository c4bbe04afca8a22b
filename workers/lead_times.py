"""Fields of all groups of a lead time, from memory or from the store, and their summary."""

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextvars import copy_context
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnostics.ensemble_summary import compute_summary
from diagnostics.finite_members import Apply, apply_to_finite
from diagnostics.scores.arrays import Array, to_numpy
from weather.stores.ensemble import EnsembleStore
from weather.stores.summary import SummaryStore
from workers.transfers import DeviceStates

Fields = NDArray[np.float32] | DeviceStates
"""The fields of a group: (member, variable, latitude, longitude)."""

Publish = Callable[[int, int], None]
"""Publish the first lead times of a group into the store: (group, number of lead times)."""

_NUM_KEPT = 4
"""Newest lead times that stay in memory: two that wait for their products, one being summarised and the newest."""
_SUMMARY_PARTS = 4
"""Parts in which threads write the fields of a summary: each takes turns of the interpreter."""


class LeadTimes:
    """The fields of all groups at a lead time; groups of the newest lead times stay in memory.

    One thread may keep groups while another reads and discards lead times. Other groups are read from the store once.
    `publish` is called before a group is read that another attempt has committed but not yet published.
    """

    def __init__(self, store: EnsembleStore, publish: Publish | None = None) -> None:
        self._store, self._publish = store, publish
        self._kept: dict[int, dict[int, Fields]] = {}
        self._lock = threading.Lock()

    def keep(self, group: int, lead_index: int, fields: Fields) -> None:
        """Keep a committed group in memory until its lead time is discarded, or is too far behind."""
        with self._lock:
            self._kept.setdefault(lead_index, {})[group] = fields
            self._discard(lead_index - _NUM_KEPT)

    def groups(self, lead_index: int) -> list[Array]:
        """Return the fields of every group, in order, at a lead time that all groups have committed.

        They are on the device if all groups are kept there, else in host memory.
        """
        with self._lock:
            kept = dict(self._kept.get(lead_index, {}))
        groups = range(self._store.layout.num_groups)
        for group in groups:
            if group not in kept:
                kept[group] = self._read(group, lead_index)
        with self._lock:
            self._kept.setdefault(lead_index, {}).update(kept)
        fields = [kept[group] for group in groups]
        arrays = [each.tensor() if isinstance(each, DeviceStates) else each for each in fields]
        is_mixed = len({type(each) for each in fields}) > 1
        return [to_numpy(array) for array in arrays] if is_mixed else arrays

    def discard(self, lead_index: int) -> None:
        """Discard this lead time and all earlier ones from memory."""
        with self._lock:
            self._discard(lead_index)

    def _discard(self, lead_index: int) -> None:
        self._kept = {index: groups for index, groups in self._kept.items() if index > lead_index}

    def _read(self, group: int, lead_index: int) -> NDArray[np.float32]:
        if self._publish is not None and not self._store.is_complete(self._store.path, group, lead_index):
            self._publish(group, lead_index + 1)
        return self._store.group_fields(group, lead_index)


@dataclass(frozen=True)
class StagedSummary:
    """The summary of a lead time whose fields are being written in parts, the last of which marks it complete."""

    parts: Sequence["Future[None]"]

    @property
    def is_written(self) -> bool:
        """Whether it is complete; false if a field could not be written, which `complete` raises."""
        return all(part.done() and not part.cancelled() and part.exception() is None for part in self.parts)

    def complete(self) -> None:
        """Wait until it is complete; raises the error of a field."""
        for part in self.parts:
            part.result()


def begin_summary(
    summary: SummaryStore, lead_times: LeadTimes, lead_index: int, threads: Executor, apply: Apply = apply_to_finite
) -> StagedSummary | None:
    """Compute the summary of a complete lead time by `apply`, begin to write its fields; None if it is written."""
    if summary.is_complete(lead_index):
        return None
    members, products = compute_summary(lead_times.groups(lead_index), summary.layout, apply)
    statistics, written = list(products.items()), itertools.count(1)  # each number is given once, to whatever thread

    def write(part: int) -> None:
        for name, values in statistics[part::_SUMMARY_PARTS]:
            summary.write_statistic(lead_index, name, values)
            if next(written) == len(statistics):
                summary.mark_complete(lead_index, members)

    parts = [threads.submit(copy_context().run, write, part) for part in range(_SUMMARY_PARTS)]
    return StagedSummary(parts)


def summarise_lead_time(summary: SummaryStore, lead_times: LeadTimes, lead_index: int) -> None:
    """Write the summary of a complete lead time, unless it has been written already."""
    if not summary.is_complete(lead_index):
        members, products = compute_summary(lead_times.groups(lead_index), summary.layout)
        summary.write(lead_index, members, products)
