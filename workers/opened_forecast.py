"""A forecast that a worker has opened: its request, its stores, and what they lack at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diagnostics.rollout import diagnose_lead_time, mean_spectra
from jobs.database import Database
from jobs.figures import diagnose, diagnosed
from jobs.folders import ForecastFolder
from jobs.request import ForecastRequest
from weather.ingest.artefact import read_canonical
from weather.initial_state import InitialState
from weather.restart_store import RestartStore
from weather.store import EnsembleStore
from weather.summary_store import SummaryStore
from weather.summary_template import SummaryLayout
from workers.lead_times import LeadTimes, summarise_lead_time
from workers.publishing import publish_committed


@dataclass(frozen=True)
class OpenedForecast:
    """A forecast that this process works at: its request, where it lies, and what it begins with."""

    request: ForecastRequest
    folder: ForecastFolder
    store: EnsembleStore
    summary: SummaryStore
    state: InitialState

    @classmethod
    def open(cls, request: ForecastRequest, folder: ForecastFolder) -> Self:
        """Open what an accepted forecast has; raises `StoreError` where that is damaged."""
        store = _open_store(request, folder)
        summary = SummaryStore(folder.summary, SummaryLayout(store.layout, request.summary))
        return cls(request, folder, store, summary, read_canonical(folder.initial_state))

    @cached_property
    def start(self) -> list[NDArray[np.float64]]:
        """The power that diagnostics compare with: that of the initial state, by variable."""
        return mean_spectra(self.state.newest[:], self.store.layout.grid)

    def lead_times(self) -> LeadTimes:
        """Return its whole lead times."""
        return LeadTimes(self.store, partial(publish_committed, self.store, self.folder))

    def diagnose(self, database: Database, lead_times: LeadTimes, lead_index: int) -> Mapping[str, Any]:
        """Write the diagnostics of a complete lead time, where they are not there yet, and return them."""
        layout = self.store.layout
        groups = lead_times.groups(lead_index)
        figures = diagnose_lead_time(groups, self.start, layout.members, layout.variables, layout.grid)
        diagnose(database, self.folder.forecast_id, self.request.checkpoint, layout.lead_hours(lead_index), figures)
        return figures

    def complete(self, database: Database) -> list[int]:
        """Write the diagnostics and summaries that are missing, as workers may have ended before they wrote theirs.

        Returns the members that are lost.
        """
        lead_times, figures = self.lead_times(), diagnosed(database, self.folder.forecast_id)
        lost = {member for told in figures.values() for member in told["nonfinite_members"]}
        for lead_index in range(self.store.layout.num_lead_times):
            if self.store.layout.lead_hours(lead_index) not in figures:
                lost.update(self.diagnose(database, lead_times, lead_index)["nonfinite_members"])
            summarise_lead_time(self.summary, lead_times, lead_index)
            lead_times.forget(lead_index)
        self.summary.sweep()
        return sorted(lost)

    def forget_before(self, lead_index: int) -> None:
        """Let go of what this complete and summarised lead time was computed from, where it was kept for that only."""
        old = lead_index - 2
        if isinstance(self.store, RestartStore) and old >= 0 and self.summary.is_complete(old):
            self.store.forget(old, (self.folder.path / "staging").folders())


def _open_store(request: ForecastRequest, folder: ForecastFolder) -> EnsembleStore:
    """Return the store of exact members: the one that users read, or another."""
    output = request.output
    if output.is_exact:
        return EnsembleStore.open(folder.store)
    return RestartStore.open_beside(folder.frames, folder.store if output.members else None, output.keep_bits)
