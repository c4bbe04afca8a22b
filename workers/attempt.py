"""One claim of a forecast's groups: each lead time staged, then committed to its row, then published."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs import leases
from jobs.database import Database
from jobs.folders import ForecastFolder
from jobs.leases import Lease
from jobs.request import ForecastRequest
from weather.initial_state import InitialState
from weather.store import EnsembleStore
from workers.clock import Lap, StepClock
from workers.diagnosing import LeadTimes, diagnose_lead_times
from workers.publishing import publish_committed
from workers.walk import Computed


@dataclass(frozen=True)
class Forecast:
    """A forecast that this process works at: its request, where it lies, and what it begins with."""

    request: ForecastRequest
    folder: ForecastFolder
    store: EnsembleStore
    state: InitialState


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
        self._lead_times = LeadTimes(folder, store)

    def write(self, computed: Computed, lap: Lap) -> None:
        """Bring a lead time of a group to its end, and whole lead times' diagnostics.

        Raises `LeaseLostError` where the group has been taken over or the forecast is no longer wanted.
        """
        forecast, group, lead_index = self._forecast, computed.group, computed.lead_index
        fields, staged = computed.fetch(), self._staged[group]
        self._clock.tell(lap)
        with self._clock.phase("write"):
            staged.commit(group, lead_index, fields)
            complete = leases.commit(self._database, self._leases[group], lead_index + 1, self._lease_seconds)
            forecast.store.publish(staged.path, group, lead_index)
        self._lead_times.keep(group, lead_index, fields)
        if complete:
            with self._clock.phase("diagnostics"):
                diagnose_lead_times(
                    self._database, forecast.folder.forecast_id, forecast.request.checkpoint, forecast.store,
                    self._lead_times, forecast.state, complete,
                )  # fmt: skip
