"""Folders of the initial states that their owners keep: write, load, delete, sweep."""

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from jobs.errors import StateNotFoundError
from jobs.folders import STATES, state_folder
from jobs.kept_states import (
    KeptState,
    StateDescription,
    digest_grid,
    expire_states,
    insert_state,
    list_deleted_states,
    list_state_ids,
    mark_deleted,
    new_state_id,
    read_state,
    remove_row,
)
from jobs.limits import Admission
from jobs.retention import ABANDONED_SECONDS, find_lost_folders, move_aside, move_back, named_folders
from jobs.rows.database import Database
from storage.errors import DataDirectoryError
from storage.paths import StoragePath, storage_path
from weather.errors import DamagedError
from weather.grids import Grid
from weather.ingest.exchange import INITIAL_STATE, load_initial_state, save_initial_state
from weather.initial_state import InitialState
from weather.manifest import GridSpec, ModelSpec

_GRID = "grid.json"


def describe_state(state: InitialState, model: str, spec: ModelSpec) -> StateDescription:
    """Return the description of a state on the grid of the checkpoint `model`."""
    latitudes, longitudes = spec.grid.grid.shape
    return StateDescription(
        digest=state.digest,
        init_time=np.datetime_as_string(state.init_time, "s"),
        model=model,
        grid_digest=digest_grid(spec.grid),
        latitudes=latitudes,
        longitudes=longitudes,
        variables=spec.variable_names,
        time_step_hours=spec.time_step_hours,
        frames=len(state.frames),
        analyses=len(state.newest),
        sources=state.sources,
        choice=state.choice,
        warnings=state.warnings,
    )


def keep_state(
    database: Database,
    data: Path | StoragePath,
    owner: str,
    state: InitialState,
    description: StateDescription,
    grid: GridSpec,
    idempotency_key: str | None,
    admission: Admission,
) -> tuple[KeptState, bool]:
    """Write the folder of a state on `grid`, insert its row, and return its record and whether it is new.

    If `owner` has made the same state with `idempotency_key` before, that one is returned and nothing is kept. Raises
    `IdempotencyError` if it was another one, and `LimitExceededError`; the folder is then removed.

    Takes the `Database`, not a `Connection`: the folder is written before the transaction that inserts the row.
    """
    state_id = new_state_id()
    folder = state_folder(data, state_id)
    try:
        (folder / _GRID).write(grid.model_dump_json().encode())
        save_initial_state(state, folder)
        size_bytes = sum(size for _, size in folder.files())
        with database.write() as connection:
            record = insert_state(connection, state_id, owner, description, size_bytes, idempotency_key)
            if record.id == state_id:
                admission.check_states(connection, owner)
    except BaseException:
        _remove_unless_kept(database, folder, state_id, owner)
        raise
    if record.id != state_id:
        folder.remove()
    return record, record.id == state_id


def _remove_unless_kept(database: Database, folder: StoragePath, state_id: str, owner: str) -> None:
    """Remove the folder of a state that was not kept, unless its row exists: the answer to the commit may be lost.

    If that cannot be found out, the folder is left: without a row, it is moved aside later.
    """
    with suppress(SQLAlchemyError, OSError, DataDirectoryError), database.read() as connection:
        try:
            read_state(connection, state_id, owner)
        except StateNotFoundError:
            folder.remove()


def load_kept_state(data: Path | StoragePath, record: KeptState) -> InitialState:
    """Return the frames of a kept state; raise `DamagedError` if they are missing, damaged or another state's."""
    state = load_initial_state(state_folder(data, record.id))
    if state.digest != record.description.digest:
        raise DamagedError(INITIAL_STATE, "is damaged: it is not the one that was kept")
    return state


def load_grid(data: Path | StoragePath, record: KeptState) -> Grid:
    """Return the grid of a kept state; raise `DamagedError` if its file is missing, damaged or another state's."""
    try:
        spec = GridSpec.model_validate_json((state_folder(data, record.id) / _GRID).read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise DamagedError(_GRID, "is missing or damaged") from error
    if digest_grid(spec) != record.description.grid_digest:
        raise DamagedError(_GRID, "is damaged: it is not the grid of the state")
    return spec.grid


def delete_state(database: Database, data: Path | StoragePath, state_id: str, owner: str) -> None:
    """Delete a state of an owner: forecasts that were submitted keep their own copies. Raises `StateNotFoundError`.

    The state counts as missing before its folder is removed, and the row is removed last; `sweep_states` completes
    what a crash has interrupted.
    """
    database.write_at_any_cost(lambda connection: mark_deleted(connection, state_id, owner))
    _remove_deleted(database, data, state_id)


def _remove_deleted(database: Database, data: Path | StoragePath, state_id: str) -> None:
    state_folder(data, state_id).remove()
    database.write_at_any_cost(lambda connection: remove_row(connection, state_id))


def sweep_states(database: Database, data: Path | StoragePath, keep_hours: float | None) -> None:
    """Delete the states that were made more than `keep_hours` ago; None: only complete earlier deletions.

    A folder without a row is moved to `lost/` an hour after its last change, and back if its row appears later, as
    `sweep_folders` does for forecasts.
    """
    database.write_at_any_cost(lambda connection: expire_states(connection, keep_hours))
    folders = named_folders(storage_path(data) / STATES, "st_")
    with database.read() as connection:
        deleted, known = list_deleted_states(connection), list_state_ids(connection)
    for state_id in deleted:
        _remove_deleted(database, data, state_id)
    for state_id, folder in folders.items():
        with suppress(FileNotFoundError):  # another process has moved or removed it
            if state_id not in known and time.time() - folder.modified_time() > ABANDONED_SECONDS:
                move_aside(folder, data, state_id, "state")
    for name in find_lost_folders(data):
        if name in known and name not in deleted:
            move_back(data, name, state_folder(data, name), "state")
