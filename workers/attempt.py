"""One claim of a forecast's groups: each lead time staged, then committed to its row, then published."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from diagnostics.rollout import mean_power
from jobs import leases
from jobs.database import Database
from jobs.folders import ForecastFolder
from jobs.leases import Lease
from jobs.request import ForecastRequest
from weather.ingest.artefact import read_canonical
from weather.initial_state import InitialState
from weather.restart_store import RestartStore
from weather.store import EnsembleStore
from weather.summary_store import SummaryStore
from weather.summary_template import SummaryLayout
from workers.clock import Lap, StepClock
from workers.diagnosing import LeadTimes, diagnose_lead_time, summarise_lead_time
from workers.publishing import publish_committed
from workers.walk import Computed


@dataclass(frozen=True)
class Forecast:
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
        return mean_power(self.state.newest[:], self.store.layout.grid)

    def lead_times(self) -> LeadTimes:
        """Return its whole lead times."""
        return LeadTimes(self.store, partial(publish_committed, self.store, self.folder))

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


class Attempt:
    """Writes what is computed under the leases of one claim; `write` is called by one thread."""

    def __init__(
        self, database: Database, forecast: Forecast, claimed: Sequence[Lease], lease_seconds: float, clock: StepClock
    ) -> None:
        self._database, self._forecast, self._lease_seconds, self._clock = database, forecast, lease_seconds, clock
        store, folder = forecast.store, forecast.folder
        self._leases = {lease.group: lease for lease in claimed}
        for lease in claimed:
            publish_committed(store, folder, lease.group, lease.committed)
        self._staged = {lease.group: store.staging(folder.attempt(lease.group, lease.epoch)) for lease in claimed}
        self._lead_times = forecast.lead_times()

    def write(self, computed: Computed, lap: Lap) -> None:
        """Bring a lead time of a group to its end, and the lead times that this makes the worker's to summarise.

        Raises `LeaseLostError` where the group has been taken over or the forecast is no longer wanted.
        """
        store, group, lead_index = self._forecast.store, computed.group, computed.lead_index
        fields, staged = computed.fetch(), self._staged[group]
        self._clock.tell(lap)
        with self._clock.phase("write"):
            staged.commit(group, lead_index, fields)
            shared = len(self._leases) < store.layout.num_groups
            mine = leases.commit(
                self._database, self._leases[group], lead_index + 1, self._lease_seconds, shared=shared
            )
            store.publish(staged.path, group, lead_index)
        self._lead_times.keep(group, lead_index, fields)
        for complete in mine:
            self._summarise(complete)

    def _summarise(self, lead_index: int) -> None:
        """Write diagnostics and summary of a complete lead time."""
        forecast, lead_times = self._forecast, self._lead_times
        with self._clock.phase("diagnostics"):
            diagnose_lead_time(
                self._database, forecast.folder.forecast_id, forecast.request.checkpoint, forecast.store, lead_times,
                forecast.start, lead_index,
            )  # fmt: skip
        with self._clock.phase("summary"):
            summarise_lead_time(forecast.summary, lead_times, lead_index)
        lead_times.forget(lead_index)
        forecast.forget_before(lead_index)
