"""Routes for the data of a forecast: the files of its ensemble and summary stores, and the ensemble as a zip."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from jobs.forecasts import ForecastRecord
from jobs.rows.states import OPEN, Status
from service.archives import BUILDERS, build_zip, stream_zip, zip_path
from service.caching import conditional, content_tag, data_cache_control
from service.dependencies import (
    OwnForecast,
    Service,
    ServiceDep,
    check_data,
    check_success,
    find_data_folder,
    find_members_folder,
)
from service.file_responses import respond_with_file
from service.problems import NOT_FOUND, PROBLEM_RESPONSES, problem_response
from storage.paths import StoragePath, storage_path
from weather.stores.chunks import METADATA_KEY
from weather.stores.layout import ENSEMBLE, SUMMARY

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_ENSEMBLE_FILE, _SUMMARY_FILE = (f"/forecast/{{forecast_id}}/{store}/{{key:path}}" for store in (ENSEMBLE, SUMMARY))
_ENSEMBLE_ZIP = f"/forecast/{{forecast_id}}/{ENSEMBLE}.zip"
_KEY = re.compile(r"(?:[a-z0-9_]+/)?zarr\.json|[a-z0-9_]+/c(?:[./]\d{1,9}){0,6}")
_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Authorization, PRIVATE-TOKEN, Range, If-Range, If-None-Match",
    "Access-Control-Max-Age": "86400",
}
_ZIP = "application/zip"


@router.get(_ENSEMBLE_FILE, response_class=Response)
@router.head(_ENSEMBLE_FILE, include_in_schema=False)
def read_ensemble_file(record: OwnForecast, key: str, service: ServiceDep, request: Request) -> Response:
    """Return a file of the ensemble store; a chunk that is not written yet is a 404, which Zarr reads as NaN."""
    return _read_store_file(record, service, find_members_folder(record, service).store, key, request)


@router.get(_SUMMARY_FILE, response_class=Response)
@router.head(_SUMMARY_FILE, include_in_schema=False)
def read_summary_file(record: OwnForecast, key: str, service: ServiceDep, request: Request) -> Response:
    """Return a file of the summary store (mean, spread, quantiles, exceedance); 404 as in the ensemble store."""
    return _read_store_file(record, service, find_data_folder(record, service).summary, key, request)


def _read_store_file(
    record: ForecastRecord, service: Service, store: StoragePath, key: str, request: Request
) -> Response:
    if _KEY.fullmatch(key):
        try:
            return _respond_with_store_file(record, store / key, request)
        except FileNotFoundError:
            if record.status not in OPEN:
                check_data(record.id, service)
    return problem_response(NOT_FOUND, f"The store has no file {key!r}, or it is not written yet.")


def _respond_with_store_file(record: ForecastRecord, path: StoragePath, request: Request) -> Response:
    """Return the response with a chunk or with metadata, which has an entity tag of its content."""
    if path.name != METADATA_KEY:
        caching = data_cache_control(record, is_final=record.status == Status.SUCCESSFUL)
        return respond_with_file(path, request, {"Cache-Control": caching})
    metadata = path.read_bytes()
    headers = {"Cache-Control": data_cache_control(record, is_final=False), "ETag": content_tag(metadata)}
    return conditional(request, Response(metadata, 200, headers, "application/json"))


@router.options(_ENSEMBLE_FILE, include_in_schema=False)
@router.options(_SUMMARY_FILE, include_in_schema=False)
@router.options(_ENSEMBLE_ZIP, include_in_schema=False)
def allow_cross_origin_reads() -> Response:
    """Allow web pages of any origin to read the data, also by ranges, conditionally and with a key."""
    return Response(status_code=204, headers=_PREFLIGHT_HEADERS)


@router.get(_ENSEMBLE_ZIP, response_class=Response)
@router.head(_ENSEMBLE_ZIP, include_in_schema=False)
async def download_zip(record: OwnForecast, service: ServiceDep, request: Request) -> Response:
    """Return the ensemble store of a successful forecast as one zip file, which `zarr.storage.ZipStore` opens."""
    folder = find_members_folder(record, service)
    check_success(record, "zip")
    headers = {
        "Cache-Control": data_cache_control(record, is_final=True),
        "Content-Disposition": f'attachment; filename="{record.id}.zarr.zip"',
    }
    if not isinstance(folder.path, Path):
        return await to_thread.run_sync(_stream_zip, record, folder.store, request, headers)
    check, path = partial(check_data, record.id, service), zip_path(folder.path)
    if not path.exists():
        await to_thread.run_sync(build_zip, folder.path, check, limiter=BUILDERS)
    return await to_thread.run_sync(_respond_with_zip, path, request, headers, check)


def _respond_with_zip(path: Path, request: Request, headers: Mapping[str, str], check: Callable[[], None]) -> Response:
    try:
        return respond_with_file(storage_path(path), request, headers, _ZIP)
    except FileNotFoundError:
        check()
        raise


def _stream_zip(record: ForecastRecord, store: StoragePath, request: Request, headers: Mapping[str, str]) -> Response:
    """Return a response that builds the zip while sending it, of unknown size and without ranges."""
    headers = {**headers, "ETag": f'"{record.id}"'}
    content = stream_zip(store) if request.method == "GET" else ()
    return conditional(request, StreamingResponse(content, headers=headers, media_type=_ZIP))
