"""Fields of all groups of a lead time, from memory or from the store, and their summary."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from diagnostics.ensemble_summary import compute_summary
from weather.stores.ensemble import EnsembleStore
from weather.stores.summary import SummaryStore

Publish = Callable[[int, int], None]
"""Publish the first lead times of a group into the store: (group, number of lead times)."""


class LeadTimes:
    """The fields of all groups at a lead time; groups of the two newest lead times stay in memory.

    Other groups are read from the store once. `publish` is called before a group is read that another attempt has
    committed but not yet published.
    """

    def __init__(self, store: EnsembleStore, publish: Publish | None = None) -> None:
        self._store, self._publish = store, publish
        self._kept: dict[int, dict[int, NDArray[np.float32]]] = {}

    def keep(self, group: int, lead_index: int, fields: NDArray[np.float32]) -> None:
        """Keep a committed group in memory until its lead time is discarded; discard the lead time two steps before."""
        self._kept.setdefault(lead_index, {})[group] = fields
        self.discard(lead_index - 2)

    def groups(self, lead_index: int) -> list[NDArray[np.float32]]:
        """Return the fields of every group, in order, at a lead time that all groups have committed."""
        kept = self._kept.setdefault(lead_index, {})
        for group in range(self._store.layout.num_groups):
            if group not in kept:
                kept[group] = self._read(group, lead_index)
        return [fields for _, fields in sorted(kept.items())]

    def discard(self, lead_index: int) -> None:
        """Discard this lead time and all earlier ones from memory."""
        self._kept = {index: groups for index, groups in self._kept.items() if index > lead_index}

    def _read(self, group: int, lead_index: int) -> NDArray[np.float32]:
        if self._publish is not None and not self._store.is_complete(self._store.path, group, lead_index):
            self._publish(group, lead_index + 1)
        return self._store.group_fields(group, lead_index)


def summarise_lead_time(summary: SummaryStore, lead_times: LeadTimes, lead_index: int) -> None:
    """Write the summary of a complete lead time, unless it has been written already."""
    if not summary.is_complete(lead_index):
        members, products = compute_summary(lead_times.groups(lead_index), summary.layout)
        summary.write(lead_index, members, products)
