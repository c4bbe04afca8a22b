"""Whole lead times, from what is at hand, else from what is published; their summary, written once."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from diagnostics.products import compute_summary
from weather.store import EnsembleStore
from weather.summary_store import SummaryStore

Publish = Callable[[int, int], None]
"""Brings the first lead times of a group, as many as told, into the store."""


class LeadTimes:
    """Whole lead times of a forecast: groups of the two newest are kept as they come, others are read once.

    `publish` is called for what is committed elsewhere and cannot be read yet.
    """

    def __init__(self, store: EnsembleStore, publish: Publish | None = None) -> None:
        self._store, self._publish = store, publish
        self._kept: dict[int, dict[int, NDArray[np.float32]]] = {}

    def keep(self, group: int, lead_index: int, fields: NDArray[np.float32]) -> None:
        """Keep a committed group until the lead time is forgotten, or two later."""
        self._kept.setdefault(lead_index, {})[group] = fields
        self.forget(lead_index - 2)

    def groups(self, lead_index: int) -> list[NDArray[np.float32]]:
        """Return the groups of a lead time that all of them have committed."""
        kept = self._kept.setdefault(lead_index, {})
        for group in range(self._store.layout.num_groups):
            if group not in kept:
                kept[group] = self._read(group, lead_index)
        return [fields for _, fields in sorted(kept.items())]

    def forget(self, lead_index: int) -> None:
        """Let go of a lead time and of those before it."""
        self._kept = {index: groups for index, groups in self._kept.items() if index > lead_index}

    def _read(self, group: int, lead_index: int) -> NDArray[np.float32]:
        if self._publish is not None and not self._store.is_marked(self._store.path, group, lead_index):
            self._publish(group, lead_index + 1)
        return self._store.fields(group, lead_index)


def summarise_lead_time(summary: SummaryStore, lead_times: LeadTimes, lead_index: int) -> None:
    """Write the summary of a complete lead time, where it is not there yet."""
    if not summary.is_complete(lead_index):
        members, products = compute_summary(lead_times.groups(lead_index), summary.layout)
        summary.write(lead_index, members, products)
