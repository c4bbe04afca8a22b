"""Routes for the data of a forecast: the files of its ensemble and summary stores, and the ensemble as a zip."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.planning.measured import load_estimator
from jobs.rows.states import OPEN, Status
from jobs.stored_files import expected_files
from service.archives import BUILDERS, build_zip, is_ready, stream_zip, zip_path
from service.caching import conditional, content_tag, data_cache_control
from service.child_processes import while_connected
from service.damage import FILE_LISTS, answering_damage
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
from service.threads import READERS, in_threads, iterate_in_threads
from storage.paths import StoragePath, storage_path
from weather.errors import DamagedError
from weather.stores.checks import Files, check_content, damage_of
from weather.stores.chunks import METADATA_KEY
from weather.stores.layout import ENSEMBLE, SUMMARY
from weather.stores.promises import mark_of, promised_files

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_ENSEMBLE_FILE, _SUMMARY_FILE = (f"/forecast/{{forecast_id}}/{store}/{{key:path}}" for store in (ENSEMBLE, SUMMARY))
_ENSEMBLE_ZIP = f"/forecast/{{forecast_id}}/{ENSEMBLE}.zip"
_KEY = re.compile(r"(?:[a-z0-9_]+/)?zarr\.json|[a-z0-9_]+/c(?:[./]\d{1,9}){0,6}")
_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Authorization, PRIVATE-TOKEN, Range, If-Range, If-None-Match",
    "Access-Control-Max-Age": "86400",
}
ZIP = "application/zip"


@router.get(_ENSEMBLE_FILE, response_class=Response)
@router.head(_ENSEMBLE_FILE, include_in_schema=False)
@in_threads(READERS)
def read_ensemble_file(record: OwnForecast, key: str, service: ServiceDep, request: Request) -> Response:
    """Return a file of the ensemble store; a chunk that is not written yet is a 404, which Zarr reads as NaN.

    A file that is damaged, or is missing but must exist, is a 409 (`damaged`).
    """
    return read_store_file(record, service, find_members_folder(record, service), ENSEMBLE, key, request)


@router.get(_SUMMARY_FILE, response_class=Response)
@router.head(_SUMMARY_FILE, include_in_schema=False)
@in_threads(READERS)
def read_summary_file(record: OwnForecast, key: str, service: ServiceDep, request: Request) -> Response:
    """Return a file of the summary store (mean, spread, quantiles, exceedance); 404 and 409 as of the ensemble."""
    return read_store_file(record, service, find_data_folder(record, service), SUMMARY, key, request)


def read_store_file(
    record: ForecastRecord, service: Service, folder: ForecastFolder, store: str, key: str, request: Request
) -> Response:
    """Return the response with a file of a store of a forecast, or with a problem."""
    if _KEY.fullmatch(key):
        with answering_damage(record, service):
            files = FILE_LISTS.read(folder, record)
            respond = partial(_respond_with_store_file, record, folder, f"{store}/{key}", files or {}, request)
            with suppress(FileNotFoundError):
                return respond()
            if _must_exist(record, folder, store, key, files):
                return _respond_again(f"{store}/{key}", respond)
        if record.status not in OPEN:
            check_data(record.id, service)
    return problem_response(NOT_FOUND, f"The store has no file {key!r}, or it is not written yet.")


def _must_exist(record: ForecastRecord, folder: ForecastFolder, store: str, key: str, files: Files | None) -> bool:
    """Return whether a file must exist: by the list of files, or by its store."""
    name = f"{store}/{key}"
    if files is not None:
        return name in files
    mark = mark_of(store, key)
    return (
        key == METADATA_KEY
        or (mark is not None and _promises(folder.path, store, mark, name))
        or (record.status == Status.SUCCESSFUL and name in expected_files(folder, record))
    )


def _respond_again(name: str, respond: Callable[[], Response]) -> Response:
    """Return the response with a file that was missing, and that its store may have promised only since then.

    Raises `DamagedError` if it is still missing.
    """
    try:
        return respond()
    except FileNotFoundError as error:
        raise DamagedError(name, "is missing") from error


def _promises(folder: StoragePath, store: str, mark: str, name: str) -> bool:
    """Return whether a mark exists and a file is one of those that it promises: a chunk of an array of the store."""
    return (folder / store / mark).file_stat() is not None and name in promised_files(
        folder, [store], is_complete=False
    )


def _respond_with_store_file(
    record: ForecastRecord, folder: ForecastFolder, name: str, files: Files, request: Request
) -> Response:
    """Return the response with a chunk or with metadata, which has an entity tag of its content.

    Raises `DamagedError` if the file is damaged or cannot be read, and `FileNotFoundError` if it is missing.
    """
    path, expected = folder.path / name, files.get(name)
    with damage_of(name, is_optional=True):
        if path.name != METADATA_KEY:
            caching = data_cache_control(record, is_final=record.status == Status.SUCCESSFUL)
            check = partial(check_content, name, expected=expected)
            return respond_with_file(path, request, {"Cache-Control": caching}, check=check)
        metadata = path.read_bytes()
        check_content(name, [metadata], expected)
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
    find_files = partial(expected_files, folder, record)
    if not isinstance(folder.path, Path):
        return await _stream_zip(record, service, folder.path, find_files, request, headers)
    check, path = partial(check_data, record.id, service), zip_path(folder.path)
    with answering_damage(record, service):
        if not is_ready(folder.path):
            build = partial(build_zip, folder.path, find_files, check, partial(_count_reserved_bytes, service))
            building = service.queues.zips.get(record.id, partial(_build_in_turn, record, service, build))
            await while_connected(request, building)
    return await _respond_with_zip(path, request, headers, check)


async def _build_in_turn(record: ForecastRecord, service: Service, build: Callable[[], Path]) -> Path:
    async with service.queues.archiving.place(record.owner) as place:
        await place.wait_for_turn()
        return await to_thread.run_sync(build, limiter=BUILDERS)


def _count_reserved_bytes(service: Service) -> int:
    """Return the bytes of the disk that accepted forecasts and deletions still need."""
    with service.database.read() as connection:
        return load_estimator(connection).remaining_bytes + service.settings.storage.reserve_bytes


@in_threads(READERS)
def _respond_with_zip(path: Path, request: Request, headers: Mapping[str, str], check: Callable[[], None]) -> Response:
    try:
        return respond_with_file(storage_path(path), request, headers, ZIP)
    except FileNotFoundError:
        check()
        raise


@in_threads(READERS)
def _stream_zip(
    record: ForecastRecord,
    service: Service,
    folder: StoragePath,
    find_files: Callable[[], Files],
    request: Request,
    headers: Mapping[str, str],
) -> Response:
    """Return a response that builds the zip while sending it, of unknown size and without ranges.

    The connection breaks at a file that turns out to be damaged.
    """
    headers = {**headers, "ETag": f'"{record.id}"'}
    with answering_damage(record, service):
        content = stream_zip(folder, find_files()) if request.method == "GET" else iter(())
        next(content, b"")
    blocks = iterate_in_threads(content, READERS)
    return conditional(request, StreamingResponse(blocks, headers=headers, media_type=ZIP))
