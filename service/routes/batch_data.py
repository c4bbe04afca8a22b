"""Routes for the data of a batch: the stores of its parts as one store, along the dimension `init_time`."""

import numpy as np
from fastapi import APIRouter, Request, Response

from jobs.batches import BatchRecord, find_part, has_data, read_parts
from jobs.rows.states import Data
from service.batch_views import data_of
from service.damage import FILE_LISTS, answering_damage
from service.dependencies import OwnBatch, Service, ServiceDep, find_data_folder, find_members_folder
from service.kept_results import KeptResults
from service.problems import DATA_GONE, NOT_FOUND, PROBLEM_RESPONSES, ServiceError
from service.routes.as_of import respond_with_content
from service.routes.data import allow_cross_origin_reads, read_store_file
from service.threads import READERS, in_threads
from service.views import format_time
from weather.stores.joined import JoinedView
from weather.stores.layout import ENSEMBLE, SUMMARY
from weather.stores.summary_layout import SUMMARY_TITLE

router = APIRouter(tags=["batches"], responses=PROBLEM_RESPONSES)

_ENSEMBLE_FILE, _SUMMARY_FILE = (f"/batch/{{batch_id}}/{store}/{{key:path}}" for store in (ENSEMBLE, SUMMARY))
_VIEWS = KeptResults[JoinedView](50, lambda _: 1)
_FOLDERS = {ENSEMBLE: find_members_folder, SUMMARY: find_data_folder}


@router.get(_ENSEMBLE_FILE, response_class=Response)
@router.head(_ENSEMBLE_FILE, include_in_schema=False)
@in_threads(READERS)
def read_joined_ensemble(batch: OwnBatch, key: str, service: ServiceDep, request: Request) -> Response:
    """Return a file of the ensembles of all parts as one store, whose dimension `init_time` has an index per part.

    A chunk that is not written yet is a 404, which Zarr reads as NaN; one of a part whose data is deleted or has
    expired is a 410, and a damaged one a 409 (`damaged`).
    """
    return _read_joined_file(batch, service, ENSEMBLE, key, request)


@router.get(_SUMMARY_FILE, response_class=Response)
@router.head(_SUMMARY_FILE, include_in_schema=False)
@in_threads(READERS)
def read_joined_summary(batch: OwnBatch, key: str, service: ServiceDep, request: Request) -> Response:
    """Return a file of the summaries of all parts as one store; 404, 409 and 410 as of the ensembles."""
    return _read_joined_file(batch, service, SUMMARY, key, request)


for _path in (_ENSEMBLE_FILE, _SUMMARY_FILE):
    router.add_api_route(_path, allow_cross_origin_reads, methods=["OPTIONS"], include_in_schema=False)


def _read_joined_file(batch: BatchRecord, service: Service, store: str, key: str, request: Request) -> Response:
    view = _VIEWS.get((batch.id, store), lambda: _join_stores(batch, service, store))
    if key in view.files:
        with service.database.read() as connection:
            is_available = has_data(connection, batch.id)
        if not is_available:
            raise _data_gone(batch)
        return respond_with_content(batch, request, key, view.files[key], is_final=False)
    located = view.locate(key)
    if located is None:
        raise ServiceError(NOT_FOUND, f"The store of batch {batch.id} has no file {key!r}.")
    index, part_key = located
    with service.database.read() as connection:
        part = find_part(connection, batch.id, index)
    assert part is not None
    return read_store_file(part, service, _FOLDERS[store](part, service), store, part_key, request)


def _join_stores(batch: BatchRecord, service: Service, store: str) -> JoinedView:
    """Return the view of the stores of all parts, with the metadata of the first one whose files are intact."""
    with service.database.read() as connection:
        parts = read_parts(connection, [batch.id])[batch.id]
    if data_of(parts) != Data.AVAILABLE:
        raise _data_gone(batch)
    init_times = [np.datetime64(time, "s") for time in batch.init_times]
    failures: list[ServiceError] = []
    for part in parts:
        if part.data == Data.AVAILABLE:
            folder = _FOLDERS[store](part, service)
            try:
                with answering_damage(part, service):
                    files = FILE_LISTS.read(folder, part)
                    return JoinedView.of(folder.path / store, init_times, _attributes(batch, store), files)
            except ServiceError as error:
                failures.append(error)
    raise failures[0]


def _attributes(batch: BatchRecord, store: str) -> dict[str, str]:
    times = sorted(set(batch.init_times))
    span = f"from {times[0]}" if len(times) == 1 else f"from {times[0]} to {times[-1]}"
    title = f"batch of {len(batch.init_times)} Warmcast ensemble forecasts {span} UTC"
    return {
        "title": SUMMARY_TITLE.format(title) if store == SUMMARY else f"{title[0].upper()}{title[1:]}",
        "history": f"{format_time(batch.created)} created by Warmcast",
        "warmcast_batch": batch.id,
    }


def _data_gone(batch: BatchRecord) -> ServiceError:
    return ServiceError(DATA_GONE, f"The data of all forecasts of batch {batch.id} is gone; only the records remain.")
