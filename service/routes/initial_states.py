"""The route for the initial state of a forecast as a Zarr store."""

from fastapi import APIRouter, Request, Response

from service.damage import answering_damage, load_state_of
from service.dependencies import OwnForecast, ServiceDep, find_data_folder
from service.kept_results import KeptResults
from service.problems import NOT_FOUND, PROBLEM_RESPONSES, ServiceError
from service.routes.as_of import respond_with_content
from service.routes.data import allow_cross_origin_reads
from service.threads import READERS, in_threads
from weather.exports.state import STATE, initial_state_files
from weather.exports.stored import StoredFields

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_STATE_FILE = f"/forecast/{{forecast_id}}/{STATE}/{{key:path}}"
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


router.add_api_route(_STATE_FILE, allow_cross_origin_reads, methods=["OPTIONS"], include_in_schema=False)
