"""One claim of a forecast's groups: each lead time staged, then committed to its row, then published."""

from collections.abc import Sequence

from jobs import leases
from jobs.database import Database
from jobs.leases import Lease
from workers.clock import Lap, StepClock
from workers.lead_times import summarise_lead_time
from workers.opened_forecast import OpenedForecast
from workers.publishing import publish_committed
from workers.walk import Computed


class Attempt:
    """Writes what is computed under the leases of one claim; `write` is called by one thread."""

    def __init__(
        self,
        database: Database,
        forecast: OpenedForecast,
        claimed: Sequence[Lease],
        lease_seconds: float,
        clock: StepClock,
    ) -> None:
        self._database, self._forecast, self._lease_seconds, self._clock = database, forecast, lease_seconds, clock
        store, folder = forecast.store, forecast.folder
        self._leases = {lease.group: lease for lease in claimed}
        for lease in claimed:
            publish_committed(store, folder, lease.group, lease.committed)
        self._staged = {lease.group: store.staging(folder.attempt(lease.group, lease.epoch)) for lease in claimed}
        self._is_shared = len(claimed) < store.layout.num_groups
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
            lease, committed = self._leases[group], lead_index + 1
            mine = leases.commit(self._database, lease, committed, self._lease_seconds, shared=self._is_shared)
            store.publish(staged.path, group, lead_index)
        self._lead_times.keep(group, lead_index, fields)
        for complete in mine:
            self._summarise(complete)

    def _summarise(self, lead_index: int) -> None:
        """Write diagnostics and summary of a complete lead time."""
        forecast, lead_times = self._forecast, self._lead_times
        with self._clock.phase("diagnostics"):
            forecast.diagnose(self._database, lead_times, lead_index)
        with self._clock.phase("summary"):
            summarise_lead_time(forecast.summary, lead_times, lead_index)
        lead_times.forget(lead_index)
        forecast.forget_before(lead_index)
