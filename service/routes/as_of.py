"""Routes for a view of a forecast that does not grow: its first lead times, as they were when these were complete."""

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from jobs.batches import BatchRecord
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.kept_states import KeptState
from jobs.rows.states import OPEN, Status
from service.caching import conditional, content_tag, data_cache_control
from service.damage import FILE_LISTS, answering_damage
from service.dependencies import OwnForecast, Service, ServiceDep, find_data_folder, find_members_folder
from service.file_responses import find_range
from service.kept_results import KeptResults
from service.problems import NOT_FINISHED, NOT_FOUND, PROBLEM_RESPONSES, ServiceError
from service.routes.data import ZIP, allow_cross_origin_reads, read_store_file
from service.threads import READERS, in_threads, iterate_in_threads
from storage.paths import StoragePath
from weather.errors import DamagedError
from weather.stores.checks import Files, check_content, damage_of
from weather.stores.frozen import FrozenView
from weather.stores.layout import ENSEMBLE, SUMMARY
from weather.stores.zipped import ZipMember, ZipPlan

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_HOME = "/forecast/{forecast_id}/as-of/{num_lead_times}"
_ENSEMBLE_FILE, _SUMMARY_FILE = (f"{_HOME}/{store}/{{key:path}}" for store in (ENSEMBLE, SUMMARY))
_ENSEMBLE_ZIP, _SUMMARY_ZIP = (f"{_HOME}/{store}.zip" for store in (ENSEMBLE, SUMMARY))
_FOLDERS: dict[str, Callable[[ForecastRecord, Service], ForecastFolder]] = {
    ENSEMBLE: find_members_folder,
    SUMMARY: find_data_folder,
}
_ZIP_CONTENT: dict[int | str, dict[str, Any]] = {code: {"content": {ZIP: {}}} for code in (200, 206)}
_MAX_LEAD_TIMES = 10_000

NumLeadTimes = Annotated[int, Path(ge=1, le=_MAX_LEAD_TIMES, description="Number of lead times from the first on.")]

_VIEWS = KeptResults[FrozenView](50, lambda _: 1)
_PLANS = KeptResults[ZipPlan](200_000, lambda plan: plan.num_members)
"""Plans of zips, of some 300 bytes for each file."""


def forget() -> None:
    """Forget all views and plans, as another process does not have them."""
    _VIEWS.clear()
    _PLANS.clear()


@router.get(_ENSEMBLE_FILE, response_class=Response)
@router.head(_ENSEMBLE_FILE, include_in_schema=False)
@in_threads(READERS)
def read_frozen_file(
    record: OwnForecast, num_lead_times: NumLeadTimes, key: str, service: ServiceDep, request: Request
) -> Response:
    """Return a file of the ensemble store with its first lead times alone, which never changes, also while it runs.

    A number of lead times that are not complete yet is a 409 (`not-finished`).
    """
    return _read_file(record, service, ENSEMBLE, num_lead_times, key, request)


@router.get(_SUMMARY_FILE, response_class=Response)
@router.head(_SUMMARY_FILE, include_in_schema=False)
@in_threads(READERS)
def read_frozen_summary_file(
    record: OwnForecast, num_lead_times: NumLeadTimes, key: str, service: ServiceDep, request: Request
) -> Response:
    """Return a file of the summary store with its first lead times alone; else as of the ensemble."""
    return _read_file(record, service, SUMMARY, num_lead_times, key, request)


@router.get(_ENSEMBLE_ZIP, response_class=Response, responses=_ZIP_CONTENT)
@router.head(_ENSEMBLE_ZIP, include_in_schema=False)
@in_threads(READERS)
def download_frozen_zip(
    record: OwnForecast, num_lead_times: NumLeadTimes, service: ServiceDep, request: Request
) -> Response:
    """Return the ensemble store with its first lead times alone as one zip; also while it runs or if it has failed.

    Its bytes never change, and any range of them is sent.
    """
    return _send_zip(record, service, ENSEMBLE, num_lead_times, request)


@router.get(_SUMMARY_ZIP, response_class=Response, responses=_ZIP_CONTENT)
@router.head(_SUMMARY_ZIP, include_in_schema=False)
@in_threads(READERS)
def download_frozen_summary_zip(
    record: OwnForecast, num_lead_times: NumLeadTimes, service: ServiceDep, request: Request
) -> Response:
    """Return the summary store with its first lead times alone as one zip; else as of the ensemble."""
    return _send_zip(record, service, SUMMARY, num_lead_times, request)


for _path in (_ENSEMBLE_FILE, _SUMMARY_FILE, _ENSEMBLE_ZIP, _SUMMARY_ZIP):
    router.add_api_route(_path, allow_cross_origin_reads, methods=["OPTIONS"], include_in_schema=False)


def _read_file(
    record: ForecastRecord, service: Service, store: str, num_lead_times: int, key: str, request: Request
) -> Response:
    folder = _FOLDERS[store](record, service)
    view = _freeze(record, service, folder.path / store, num_lead_times)
    if key in view.files:
        return respond_with_content(record, request, key, view.files[key], is_final=True)
    if view.has_chunk(key):
        return read_store_file(record, service, folder, store, key, request)
    raise ServiceError(NOT_FOUND, f"The store of {num_lead_times} lead times has no file {key!r}.")


def respond_with_content(
    record: ForecastRecord | BatchRecord | KeptState, request: Request, key: str, content: bytes, *, is_final: bool
) -> Response:
    """Return the response with a file of a view; `is_final`: it never changes."""
    headers = {"Cache-Control": data_cache_control(record, is_final=is_final), "ETag": content_tag(content)}
    media_type = "application/json" if key.endswith(".json") else "application/octet-stream"
    return conditional(request, Response(content, 200, headers, media_type))


def _send_zip(record: ForecastRecord, service: Service, store: str, num_lead_times: int, request: Request) -> Response:
    """Return the response with a zip or a range of it; the connection breaks at a file that turns out to be damaged."""
    folder = _FOLDERS[store](record, service)
    path = folder.path / store
    view = _freeze(record, service, path, num_lead_times)
    with answering_damage(record, service):
        plan = _PLANS.get((str(path), num_lead_times), partial(_plan_zip, path, view))
        files = FILE_LISTS.read(folder, record) or {}
        kind = "" if store == ENSEMBLE else "-summary"
        headers = {
            "Cache-Control": data_cache_control(record, is_final=True),
            "Content-Disposition": f'attachment; filename="{record.id}{kind}-first-{num_lead_times}.zarr.zip"',
        }
        requested = find_range(request, plan.size_bytes, f'"{plan.digest}"', headers)
        if not requested.has_body:
            media_type = ZIP if requested.status < 300 else None
            return Response(None, requested.status, requested.headers, media_type)
        blocks = plan.blocks(requested.start, requested.stop, partial(_read_chunk, path, files))
        beginning = next(blocks)
    content = iterate_in_threads(chain([beginning], blocks), READERS)
    return StreamingResponse(content, requested.status, requested.headers, ZIP)


def _freeze(record: ForecastRecord, service: Service, store: StoragePath, num_lead_times: int) -> FrozenView:
    """Return the view of a store; raise `ServiceError` unless all members have so many lead times, all published."""
    with answering_damage(record, service):
        if num_lead_times > record.lead_times:
            may_come = record.status in OPEN and num_lead_times <= record.num_lead_times
            raise ServiceError(
                NOT_FINISHED if may_come else NOT_FOUND,
                f"Forecast {record.id} is {record.status} and has {record.lead_times} complete lead times. Got: "
                f"{num_lead_times}.",
            )
        return _VIEWS.get((str(store), num_lead_times), partial(_make_view, record, store, num_lead_times))


def _make_view(record: ForecastRecord, store: StoragePath, num_lead_times: int) -> FrozenView:
    """Return a new view; raise `ServiceError` if a lead time is committed and not published, which takes moments."""
    view = FrozenView.of(store, num_lead_times)
    if record.status != Status.SUCCESSFUL:
        existing = {f"complete/{name}" for name, _ in (store / "complete").files()}
        if not existing.issuperset(view.marks()):
            raise ServiceError(
                NOT_FINISHED if record.status in OPEN else NOT_FOUND,
                f"Lead time {num_lead_times} of `{store.name}` of forecast {record.id} is not published"
                f"{' yet' if record.status in OPEN else ': the forecast ended before'}.",
            )
    return view


def _plan_zip(store: StoragePath, view: FrozenView) -> ZipPlan:
    """Return the plan of the zip of a view; raise `DamagedError` if a chunk is missing."""
    sizes = dict(store.files())
    members = [ZipMember(name, len(content), content) for name, content in view.files.items()]
    for name in view.chunks():
        if name not in sizes:
            raise DamagedError(f"{store.name}/{name}", "is missing")
        members.append(ZipMember(name, sizes[name]))
    return ZipPlan(sorted(members, key=lambda member: member.name))


def _read_chunk(store: StoragePath, files: Files, name: str) -> bytes:
    """Return the content of a chunk; raise `DamagedError` if it is damaged."""
    path = f"{store.name}/{name}"
    with damage_of(path):
        content = (store / name).read_bytes()
    check_content(path, [content], files.get(path))
    return content
