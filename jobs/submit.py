"""From a checked initial state and a request to a forecast that waits: its folder, its empty ensemble, its rows."""

from pathlib import Path

from jobs.database import Database
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, find_by_idempotency_key, insert_forecast, new_forecast_id
from jobs.request import ForecastRequest
from jobs.states import Priority
from storage.paths import StoragePath
from weather.ingest.exchange import save_initial_state
from weather.initial_state import InitialState
from weather.manifest import Manifest
from weather.stores.attributes import store_description, store_identity
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout
from weather.stores.summary import SummaryStore
from weather.stores.summary_layout import SummaryLayout

_FRAMES = 4


def submit(
    database: Database,
    data: Path | StoragePath,
    owner: str,
    request: ForecastRequest,
    state: InitialState,
    manifest: Manifest,
    idempotency_key: str | None = None,
    expected_bytes: int | None = None,
    priority: Priority = Priority.NORMAL,
) -> tuple[ForecastRecord, bool]:
    """Return an accepted forecast, whose empty ensemble can be opened, and whether it is new.

    Poking a worker is the caller's. `expected_bytes` is how many its store is planned to take.

    Under an `idempotency_key` that `owner` has used for the same request, the earlier forecast is returned, with the
    priority that it had. Raises `IdempotencyError` where it was another request, and `StoreError` where the disk has
    no room: then nothing is left.
    """
    if idempotency_key is not None:
        earlier = find_by_idempotency_key(database, owner, idempotency_key, request)
        if earlier is not None:
            return earlier, False
    folder = ForecastFolder(data, new_forecast_id())
    layout, output = layout_of(request, manifest), request.output
    identity = store_identity(manifest, request.sampling, request.seed, state.digest)
    description = store_description(manifest, state.init_time, request.sources)
    try:
        save_initial_state(state, folder.initial_state)
        if output.members:
            rounding = {} if output.is_exact else {"warmcast_keep_bits": output.keep_bits}
            EnsembleStore.create(folder.store, layout, description | identity | rounding)
        if not output.is_exact:
            EnsembleStore.create(folder.frames, layout, identity, frames_bytes(layout))
        SummaryStore.create(folder.summary, SummaryLayout(layout, request.summary), description | identity)
        record = insert_forecast(
            database, folder.forecast_id, owner, request, layout.num_lead_times, idempotency_key, expected_bytes,
            priority,
        )  # fmt: skip
    except BaseException:
        folder.path.remove()
        raise
    if record.id != folder.forecast_id:
        folder.path.remove()
    return record, record.id == folder.forecast_id


def size_of(request: ForecastRequest, manifest: Manifest) -> int:
    """Return the bytes of a request's stores, before compression."""
    layout, output = layout_of(request, manifest), request.output
    members = layout.size_bytes if output.members else 0
    frames = 0 if output.is_exact else frames_bytes(layout)
    return members + frames + SummaryLayout(layout, request.summary).size_bytes


def frames_bytes(layout: Layout) -> int:
    """Return the bytes of the exact lead times that are kept to go on from, and of those about to be forgotten."""
    return layout.size_bytes // layout.num_lead_times * min(_FRAMES, layout.num_lead_times)


def layout_of(request: ForecastRequest, manifest: Manifest) -> Layout:
    """Return the shape of a request's ensemble."""
    return Layout(
        init_time=request.start,
        num_lead_times=request.lead_hours // manifest.model.time_step_hours,
        time_step=manifest.model.time_step,
        members=request.numbers,
        group_size=request.group_size,
        variables=manifest.model.variable_names,
        grid=manifest.model.grid.grid,
    )
