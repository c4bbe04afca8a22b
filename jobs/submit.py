"""Submit a forecast: create its folder with the empty stores, and insert its rows."""

from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from jobs.errors import ForecastNotFoundError
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, insert_forecast, new_forecast_id, read_forecast
from jobs.limits import Admission, NewForecast, lock_queue
from jobs.planning.plans import Plan, restart_bytes
from jobs.rows.database import Database
from jobs.rows.states import Priority
from storage.errors import DataDirectoryError
from storage.paths import StoragePath
from weather.ingest.exchange import save_initial_state
from weather.initial_state import InitialState
from weather.manifest import Manifest
from weather.stores.create import descriptive_attributes, identity_attributes
from weather.stores.ensemble import EnsembleStore
from weather.stores.summary import SummaryStore
from weather.stores.summary_layout import SummaryLayout


def submit(
    database: Database,
    data: Path | StoragePath,
    owner: str,
    plan: Plan,
    state: InitialState,
    manifest: Manifest,
    idempotency_key: str | None = None,
    priority: Priority = Priority.NORMAL,
    admission: Admission | None = None,
) -> tuple[ForecastRecord, bool]:
    """Create the folder of a planned forecast, insert its rows, and return its record and whether it is new.

    The empty ensemble can then be opened. Workers are not notified: the caller must do that.

    If `owner` has used `idempotency_key` for the same request before, the earlier forecast is returned and nothing is
    created. Raises `IdempotencyError` if it was another request, the errors of `admission`, and `StoreError` if the
    disk has too little space; the folder is then removed.

    Takes the `Database`, not a `Connection`: the folder is written before the transaction that inserts the rows.
    """
    folder = ForecastFolder(data, new_forecast_id())
    try:
        create_folder(folder, plan, state, manifest)
        record = insert_if_admitted(database, folder.forecast_id, owner, plan, idempotency_key, priority, admission)
    except BaseException:
        remove_unless_accepted(database, folder)
        raise
    if record.id != folder.forecast_id:
        folder.path.remove()
    return record, record.id == folder.forecast_id


def remove_unless_accepted(database: Database, folder: ForecastFolder) -> None:
    """Remove the folder of a submission that failed, unless its rows exist: the answer to their commit may be lost.

    If that cannot be found out, the folder is left: without a row, it is moved aside later.
    """
    with suppress(SQLAlchemyError, OSError, DataDirectoryError), database.read() as connection:
        try:
            read_forecast(connection, folder.forecast_id)
        except ForecastNotFoundError:
            folder.path.remove()


def insert_if_admitted(
    database: Database,
    forecast_id: str,
    owner: str,
    plan: Plan,
    idempotency_key: str | None,
    priority: Priority,
    admission: Admission | None,
) -> ForecastRecord:
    """Insert the rows of a forecast and check `admission`, in one transaction; return its record.

    Transactions of one owner follow one another, and those of all owners while they check: no two of them count the
    same free place. Raises the errors of `submit`.
    """
    with database.write() as connection:
        record = insert_forecast(
            connection,
            forecast_id,
            owner,
            plan.request,
            plan.layout.num_lead_times,
            idempotency_key,
            plan.expected_bytes,
            priority,
            plan.mode,
            plan.handling,
        )
        if admission is not None and record.id == forecast_id:
            lock_queue(connection)
            admission.check(connection, owner, NewForecast.of(plan, priority), is_counted=True)
    return record


def create_folder(folder: ForecastFolder, plan: Plan, state: InitialState, manifest: Manifest) -> None:
    """Write the initial state and the empty stores of a forecast."""
    request, layout, output = plan.request, plan.layout, plan.request.output
    identity = identity_attributes(manifest, request.sampling, request.seed, state.digest)
    description = descriptive_attributes(manifest, state.init_time, request.sources, request.choice)
    save_initial_state(state, folder.initial_state)
    if output.members:
        rounding = {} if output.is_exact else {"warmcast_keep_bits": output.keep_bits}
        EnsembleStore.create(folder.store, layout, description | identity | rounding)
    if not output.is_exact:
        EnsembleStore.create(folder.frames, layout, identity, restart_bytes(layout, manifest.model.context_frames))
    SummaryStore.create(folder.summary, SummaryLayout(layout, request.summary), description | identity)
