"""Diagnostics of complete lead times, taken from what is published, and written once."""

from collections.abc import Iterable

from diagnostics.forecasts import lead_time_fields
from diagnostics.rollout import lead_time_figures
from jobs.database import Database
from jobs.figures import diagnose, diagnosed
from jobs.folders import ForecastFolder
from weather.initial_state import InitialState
from weather.store import EnsembleStore
from workers.publishing import publish_committed


def diagnose_lead_times(
    database: Database,
    model: str,
    folder: ForecastFolder,
    store: EnsembleStore,
    state: InitialState,
    lead_indices: Iterable[int],
) -> None:
    """Write the diagnostics of lead times whose groups are all committed, where they are not there yet."""
    layout = store.layout
    for lead_index in lead_indices:
        for group in range(layout.num_groups):
            if store.committed(group) <= lead_index:
                publish_committed(store, folder, group, lead_index + 1)
        fields = lead_time_fields(store, lead_index)
        figures = lead_time_figures(fields, state.newest, layout.members, layout.variables, layout.grid)
        diagnose(database, folder.forecast_id, model, _hours(store, lead_index), figures)


def missing_lead_times(database: Database, forecast_id: str, store: EnsembleStore) -> list[int]:
    """Return the indices of lead times without diagnostics: a worker ended between its commit and them."""
    there = diagnosed(database, forecast_id)
    return [index for index in range(store.layout.num_lead_times) if _hours(store, index) not in there]


def _hours(store: EnsembleStore, lead_index: int) -> int:
    return int(store.layout.lead_time(lead_index).astype("timedelta64[h]").astype(int))
