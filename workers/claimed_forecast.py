"""A forecast that a worker has claimed: its stores and initial state, publishing, and products of lead times."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diagnostics.alerts import event_probabilities
from diagnostics.finite_members import Apply, apply_to_finite
from diagnostics.live import diagnose_lead_time, mean_spectra
from jobs.alerts import Alert, count_evaluated, record_probabilities
from jobs.folders import ForecastFolder
from jobs.quality import read_diagnostics, save_diagnostics
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from weather.errors import DamagedError
from weather.ingest.exchange import load_initial_state
from weather.initial_state import InitialState
from weather.places import Place
from weather.stores.ensemble import EnsembleStore
from weather.stores.restart import RestartStore
from weather.stores.summary import SummaryStore
from weather.stores.summary_layout import SummaryLayout
from weather.stores.summary_request import Threshold
from workers.lead_times import LeadTimes, summarise_lead_time


@dataclass(frozen=True)
class ClaimedForecast:
    """A forecast that this process computes: its request, folder, stores and initial state."""

    request: ForecastRequest
    folder: ForecastFolder
    store: EnsembleStore
    summary: SummaryStore
    state: InitialState
    seconds_before: float
    alerts: tuple[Alert, ...] = ()
    opened: float = field(default_factory=time.monotonic)

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the forecast started; a clock that is set while this process computes it has no influence."""
        return self.seconds_before + time.monotonic() - self.opened

    @classmethod
    def open(
        cls, request: ForecastRequest, folder: ForecastFolder, seconds_before: float, alerts: tuple[Alert, ...] = ()
    ) -> Self:
        """Open the stores and the initial state of a claimed forecast, which started `seconds_before` seconds ago.

        Raises `StoreError` if one is damaged.
        """
        store = _open_store(request, folder)
        summary = SummaryStore(folder.summary, SummaryLayout(store.layout, request.summary))
        state = load_initial_state(folder.initial_state)
        return cls(request, folder, store, summary, state, max(seconds_before, 0.0), alerts)

    @cached_property
    def start(self) -> list[NDArray[np.float64]]:
        """Power of each variable by total wavenumber in the newest initial frame; live diagnostics compare with it."""
        return mean_spectra(self.state.newest[:], self.store.layout.grid)

    def lead_times(self) -> LeadTimes:
        """Return an empty cache of the forecast's lead times, which reads from its store."""
        return LeadTimes(self.store, partial(publish_committed, self.store, self.folder))

    def diagnose(self, database: Database, lead_times: LeadTimes, lead_index: int) -> Mapping[str, Any]:
        """Compute the diagnostics of a complete lead time, save them as a row, and return them."""
        figures = self.compute_diagnostics(lead_times, lead_index)
        self.save_diagnostics(database, {lead_index: figures})
        return figures

    def compute_diagnostics(
        self, lead_times: LeadTimes, lead_index: int, apply: Apply = apply_to_finite
    ) -> dict[str, Any]:
        """Return the diagnostics of a complete lead time, as `apply` computes them; `save_diagnostics` saves them."""
        layout, groups = self.store.layout, lead_times.groups(lead_index)
        return diagnose_lead_time(groups, self.start, layout.members, layout.variables, layout.grid, apply)

    def save_diagnostics(self, database: Database, figures: Mapping[int, Mapping[str, Any]]) -> None:
        """Save the diagnostics of lead times, by index, as rows in one transaction."""
        model, layout = self.request.checkpoint, self.store.layout
        by_hours = {layout.lead_hours(lead_index): values for lead_index, values in figures.items()}
        with database.write() as connection:
            save_diagnostics(connection, self.folder.forecast_id, model, by_hours)

    def check_alerts(self, database: Database, lead_times: LeadTimes, lead_index: int) -> None:
        """Evaluate the alerts at a complete lead time, after those of earlier lead times that nobody has evaluated."""
        if not self.alerts:
            return
        layout, forecast_id = self.store.layout, self.folder.forecast_id
        with database.read() as connection:
            evaluated = count_evaluated(connection, forecast_id)
        for index in range(evaluated, lead_index + 1):
            groups = lead_times.groups(index)
            probabilities = []
            for alert in self.alerts:
                event = Threshold(variable=alert.variable, op=alert.op, value=alert.value)
                places = [Place(place.latitude, place.longitude) for place in alert.places]
                probabilities.append(event_probabilities(groups, layout, event, alert.units, places))
            times = {"lead_hours": layout.lead_hours(index), "valid_time": str(layout.valid_time(index))}
            with database.write() as connection:
                record_probabilities(connection, forecast_id, index, times, probabilities)

    def write_missing_products(self, database: Database) -> list[int]:
        """Write the missing diagnostics and summaries, which a worker may have ended before writing.

        Returns the numbers of the lost members.
        """
        lead_times = self.lead_times()
        with database.read() as connection:
            figures = read_diagnostics(connection, self.folder.forecast_id)
        lost = {member for record in figures.values() for member in record["nonfinite_members"]}
        for lead_index in range(self.store.layout.num_lead_times):
            if self.store.layout.lead_hours(lead_index) not in figures:
                lost.update(self.diagnose(database, lead_times, lead_index)["nonfinite_members"])
            self.check_alerts(database, lead_times, lead_index)
            summarise_lead_time(self.summary, lead_times, lead_index)
            lead_times.discard(lead_index)
        return sorted(lost)

    def discard_frames_before(self, lead_index: int) -> None:
        """Delete the restart frames that no group needs to resume any more, of one lead time, if it is summarised."""
        old = lead_index - len(self.state.frames)
        if isinstance(self.store, RestartStore) and old >= 0 and self.summary.is_complete(old):
            self.store.delete_fields(old, (self.folder.path / "staging").folders())


def _open_store(request: ForecastRequest, folder: ForecastFolder) -> EnsembleStore:
    """Open the store of exact members: the public ensemble store, or the restart store if that is not exact."""
    output = request.output
    if output.is_exact:
        return EnsembleStore.open(folder.store)
    return RestartStore.open_with_members(folder.frames, folder.store if output.members else None, output.keep_bits)


def publish_committed(store: EnsembleStore, folder: ForecastFolder, group: int, committed: int) -> None:
    """Publish the first `committed` lead times of a group, as far as earlier attempts have not published them.

    If several attempts have staged a lead time, the latest of them committed it: an attempt starts at the lead time
    after those that were committed when it claimed the group. Lead times are published in order, so unpublished ones
    are the last of the committed ones. Raises `DamagedError` if no attempt has a committed lead time.
    """
    first = committed
    while first and not store.is_complete(store.path, group, first - 1):
        first -= 1
    for lead_index in range(first, committed):
        for attempt in folder.attempts(group):
            if store.is_complete(attempt, group, lead_index):
                store.publish(attempt, group, lead_index)
                break
        else:
            reason = f"lacks lead time {lead_index} of group {group}, which was committed"
            raise DamagedError(store.path.name, reason)
