"""Write the results of one claim: each lead time of a group is staged, committed to its row, then published."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.dispatching import leases
from jobs.dispatching.leases import Lease
from jobs.rows.database import Database
from workers.claimed_forecast import ClaimedForecast, publish_committed
from workers.lead_times import summarise_lead_time
from workers.rollouts import GroupStates
from workers.timing import PhaseMarks, StepClock


class Attempt:
    """Write the lead times that one claim computes, under its leases; `write` must be called by one thread only."""

    def __init__(
        self,
        database: Database,
        forecast: ClaimedForecast,
        claimed: Sequence[Lease],
        lease_seconds: float,
        clock: StepClock,
    ) -> None:
        self._database, self._forecast, self._lease_seconds, self._clock = database, forecast, lease_seconds, clock
        store, folder = forecast.store, forecast.folder
        self._leases = {lease.group: lease for lease in claimed}
        for lease in claimed:
            publish_committed(store, folder, lease.group, lease.committed)
        self._staged = {lease.group: store.open_staging(folder.attempt(lease.group, lease.epoch)) for lease in claimed}
        self._is_shared = len(claimed) < store.layout.num_groups
        self._lead_times = forecast.lead_times()
        self._computation: Mapping[str, Any] = {}

    def write(self, computed: GroupStates, marks: PhaseMarks, computation: Mapping[str, Any]) -> None:
        """Stage, commit and publish a lead time of a group, then write the products of newly complete lead times.

        `computation` describes how it was computed, for the receipt.
        The commit returns the complete lead times whose products this worker has to write. Raises `LeaseLostError`
        if another worker has taken over the group or the forecast has been cancelled.
        """
        store, group, lead_index = self._forecast.store, computed.group, computed.lead_index
        fields, staged = computed.fetch(), self._staged[group]
        self._clock.record(marks)
        with self._clock.phase("write"):
            staged.commit(group, lead_index, fields)
            self._record_computation(computation, lead_index)
            lease, committed = self._leases[group], lead_index + 1
            with self._database.write() as connection:
                due = leases.commit(connection, lease, committed, self._lease_seconds, shared=self._is_shared)
            store.publish(staged.path, group, lead_index)
        self._lead_times.keep(group, lead_index, fields)
        for complete_index in due:
            self._write_products(complete_index)

    def _record_computation(self, computation: Mapping[str, Any], lead_index: int) -> None:
        """Add a way of computing to the folder, with the lead time where it was first used; once for each way."""
        if computation != self._computation:
            first = {"first_lead_hours": self._forecast.store.layout.lead_hours(lead_index)}
            self._forecast.folder.record_computation(computation, first)
            self._computation = computation

    def _write_products(self, lead_index: int) -> None:
        """Write the diagnostics and the summary of a lead time that all groups have committed."""
        forecast, lead_times = self._forecast, self._lead_times
        with self._clock.phase("diagnostics"):
            forecast.diagnose(self._database, lead_times, lead_index)
        with self._clock.phase("summary"):
            summarise_lead_time(forecast.summary, lead_times, lead_index)
        lead_times.discard(lead_index)
        forecast.discard_frames_before(lead_index)
