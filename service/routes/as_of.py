"""Routes for a view of a forecast that does not grow: its first lead times, as they were when these were complete."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from jobs.batches import BatchRecord
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.kept_states import KeptState
from jobs.rows.states import OPEN
from service.caching import conditional, content_tag, data_cache_control
from service.damage import answering_damage
from service.dependencies import OwnForecast, ServiceDep, find_members_folder
from service.kept_results import KeptResults
from service.problems import NOT_FINISHED, NOT_FOUND, PROBLEM_RESPONSES, ServiceError
from service.routes.data import allow_cross_origin_reads, read_store_file
from service.threads import READERS, in_threads
from weather.stores.chunks import METADATA_KEY
from weather.stores.ensemble import EnsembleStore
from weather.stores.frozen import FrozenView
from weather.stores.layout import ENSEMBLE

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_FROZEN_FILE = f"/forecast/{{forecast_id}}/as-of/{{num_lead_times}}/{ENSEMBLE}/{{key:path}}"
_MAX_LEAD_TIMES = 10_000

NumLeadTimes = Annotated[int, Path(ge=1, le=_MAX_LEAD_TIMES, description="Number of lead times from the first on.")]


_VIEWS = KeptResults[FrozenView](50, lambda _: 1)


@router.get(_FROZEN_FILE, response_class=Response)
@router.head(_FROZEN_FILE, include_in_schema=False)
@in_threads(READERS)
def read_frozen_file(
    record: OwnForecast, num_lead_times: NumLeadTimes, key: str, service: ServiceDep, request: Request
) -> Response:
    """Return a file of the ensemble store with its first lead times alone, which never changes, also while it runs.

    A number of lead times that are not complete yet is a 409 (`not-finished`).
    """
    folder = find_members_folder(record, service)
    with answering_damage(record, service):
        _check_complete(record, num_lead_times)
        if key == METADATA_KEY and record.status in OPEN:
            _check_published(record, folder, num_lead_times)
        view = _VIEWS.get(
            (str(folder.path), num_lead_times), lambda: FrozenView.of(EnsembleStore.open(folder.store), num_lead_times)
        )
    if key in view.files:
        return respond_with_content(record, request, key, view.files[key], is_final=True)
    if view.has_chunk(key):
        return read_store_file(record, service, folder, ENSEMBLE, key, request)
    raise ServiceError(NOT_FOUND, f"The store of {num_lead_times} lead times has no file {key!r}.")


router.add_api_route(_FROZEN_FILE, allow_cross_origin_reads, methods=["OPTIONS"], include_in_schema=False)


def respond_with_content(
    record: ForecastRecord | BatchRecord | KeptState, request: Request, key: str, content: bytes, *, is_final: bool
) -> Response:
    """Return the response with a file of a view; `is_final`: it never changes."""
    headers = {"Cache-Control": data_cache_control(record, is_final=is_final), "ETag": content_tag(content)}
    media_type = "application/json" if key.endswith(".json") else "application/octet-stream"
    return conditional(request, Response(content, 200, headers, media_type))


def _check_complete(record: ForecastRecord, num_lead_times: int) -> None:
    """Raise `ServiceError` unless all members have so many lead times."""
    if num_lead_times > record.lead_times:
        may_come = record.status in OPEN and num_lead_times <= record.num_lead_times
        raise ServiceError(
            NOT_FINISHED if may_come else NOT_FOUND,
            f"Forecast {record.id} is {record.status} and has {record.lead_times} complete lead times. Got: "
            f"{num_lead_times}.",
        )


def _check_published(record: ForecastRecord, folder: ForecastFolder, num_lead_times: int) -> None:
    """Raise `ServiceError` if the last of some committed lead times cannot be read yet, which takes some moments."""
    store = EnsembleStore.open(folder.store)
    groups = range(store.layout.num_groups)
    if not all(store.is_complete(store.path, group, num_lead_times - 1) for group in groups):
        raise ServiceError(NOT_FINISHED, f"Lead time {num_lead_times} of forecast {record.id} is being published.")
