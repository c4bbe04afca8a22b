"""The routes for the initial state of a forecast, and for one that the caller keeps, as Zarr stores."""

import numpy as np
from fastapi import APIRouter, Request, Response

from jobs.kept_states import read_state
from jobs.state_folders import load_grid, load_kept_state
from service.damage import answering_damage, load_state_of
from service.dependencies import Owner, OwnForecast, ServiceDep, find_data_folder
from service.kept_results import KeptResults
from service.problems import NOT_FOUND, PROBLEM_RESPONSES, ServiceError
from service.routes.as_of import respond_with_content
from service.routes.data import allow_cross_origin_reads
from service.state_sources import answering_state_damage
from service.threads import READERS, in_threads
from weather.exports.state import KEPT_STATE, STATE, initial_state_files, kept_state_files
from weather.exports.stored import StoredFields

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_STATE_FILE = f"/forecast/{{forecast_id}}/{STATE}/{{key:path}}"
_KEPT_FILE = f"/states/{{state_id}}/{KEPT_STATE}/{{key:path}}"
_KEPT = KeptResults[dict[str, bytes]](64_000_000, lambda files: sum(map(len, files.values())))


@router.get(_STATE_FILE, response_class=Response)
@router.head(_STATE_FILE, include_in_schema=False)
@in_threads(READERS)
def read_state_file(record: OwnForecast, key: str, service: ServiceDep, request: Request) -> Response:
    """Return a file of a store with the frames that the forecast started from, on the grid of its checkpoint."""
    folder = find_data_folder(record, service)
    store = folder.store if record.request.output.members else folder.summary

    def make() -> dict[str, bytes]:
        return initial_state_files(load_state_of(record, service), StoredFields.open(store))

    with answering_damage(record, service):
        files = _KEPT.get(str(folder.path), make)
    if key not in files:
        raise ServiceError(NOT_FOUND, f"The initial state has no file {key!r}.")
    return respond_with_content(record, request, key, files[key], is_final=True)


@router.get(_KEPT_FILE, response_class=Response)
@router.head(_KEPT_FILE, include_in_schema=False)
@in_threads(READERS)
def read_kept_state_file(state_id: str, key: str, service: ServiceDep, owner: Owner, request: Request) -> Response:
    """Return a file of a store with the frames of an initial state that the caller keeps."""
    with service.database.read() as connection:
        record = read_state(connection, state_id, owner)
    description = record.description

    def make() -> dict[str, bytes]:
        grid, step = load_grid(service.data, record), np.timedelta64(description.time_step_hours, "h")
        return kept_state_files(load_kept_state(service.data, record), description.variables, grid, step)

    with answering_state_damage(record, service):
        files = _KEPT.get(record.id, make)
    if key not in files:
        raise ServiceError(NOT_FOUND, f"The initial state has no file {key!r}.")
    return respond_with_content(record, request, key, files[key], is_final=True)


router.add_api_route(_KEPT_FILE, allow_cross_origin_reads, methods=["OPTIONS"], include_in_schema=False)
router.add_api_route(_STATE_FILE, allow_cross_origin_reads, methods=["OPTIONS"], include_in_schema=False)
