"""Routes for the data of a forecast: the files of its ensemble and summary stores, the ensemble as a zip, plots."""

import re
import threading
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from diagnostics.figures.plot import plot_maps, plot_plume
from jobs.forecasts import ForecastRecord
from jobs.rows.states import Status
from service.archives import BUILDERS, build_zip, stream_zip, zip_path
from service.dependencies import (
    OwnForecast,
    ServiceDep,
    check_data,
    find_data_folder,
    find_members_folder,
    open_ensemble,
)
from service.file_responses import respond_with_file
from service.problems import NOT_FINISHED, NOT_FOUND, PROBLEM_RESPONSES, ServiceError, problem_response
from storage.paths import StoragePath
from weather.stores.layout import ENSEMBLE, SUMMARY

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_ENSEMBLE_FILE, _SUMMARY_FILE = (f"/forecast/{{forecast_id}}/{store}/{{key:path}}" for store in (ENSEMBLE, SUMMARY))
_ENSEMBLE_ZIP = f"/forecast/{{forecast_id}}/{ENSEMBLE}.zip"
_KEY = re.compile(r"(?:[a-z0-9_]+/)?zarr\.json|[a-z0-9_]+/c(?:[./]\d{1,9}){0,6}")
_CROSS_ORIGIN_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Range, Content-Length, ETag, Accept-Ranges",
}
_IMMUTABLE = "public, max-age=31536000, immutable"
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
_MAX_MAPS = 4
_drawing_lock = threading.Lock()
"""Matplotlib keeps its styles per process, so only one thread draws at a time."""


@router.get(_ENSEMBLE_FILE, response_class=Response)
@router.head(_ENSEMBLE_FILE, include_in_schema=False)
def read_ensemble_file(record: OwnForecast, key: str, service: ServiceDep, request: Request) -> Response:
    """Return a file of the ensemble store; a chunk that is not written yet is a 404, which Zarr reads as NaN."""
    return _read_store_file(record, find_data_folder(record, service).store, key, request)


@router.get(_SUMMARY_FILE, response_class=Response)
@router.head(_SUMMARY_FILE, include_in_schema=False)
def read_summary_file(record: OwnForecast, key: str, service: ServiceDep, request: Request) -> Response:
    """Return a file of the summary store (mean, spread, quantiles, exceedance); 404 as in the ensemble store."""
    return _read_store_file(record, find_data_folder(record, service).summary, key, request)


def _read_store_file(record: ForecastRecord, store: StoragePath, key: str, request: Request) -> Response:
    path = store / key
    stat = path.file_stat() if _KEY.fullmatch(key) else None
    if stat is None:
        missing = problem_response(NOT_FOUND, f"The store has no file {key!r}, or it is not written yet.")
        missing.headers.update(_CROSS_ORIGIN_HEADERS)
        return missing
    if path.name == "zarr.json":
        return Response(
            path.read_bytes(), 200, {"Cache-Control": "no-cache"} | _CROSS_ORIGIN_HEADERS, "application/json"
        )
    caching = _IMMUTABLE if record.status == Status.SUCCESSFUL else "no-cache"
    return respond_with_file(path, stat, request, {"Cache-Control": caching} | _CROSS_ORIGIN_HEADERS)


@router.options(_ENSEMBLE_FILE, include_in_schema=False)
@router.options(_SUMMARY_FILE, include_in_schema=False)
def allow_cross_origin_reads() -> Response:
    """Allow web pages of any origin to read the store, with ranges."""
    allowed = {"Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "Range, Authorization"}
    return Response(status_code=204, headers=_CROSS_ORIGIN_HEADERS | allowed | {"Access-Control-Max-Age": "86400"})


@router.get(_ENSEMBLE_ZIP, response_class=Response)
@router.head(_ENSEMBLE_ZIP, include_in_schema=False)
async def download_zip(record: OwnForecast, service: ServiceDep, request: Request) -> Response:
    """Return the ensemble store of a successful forecast as one zip file, which `zarr.storage.ZipStore` opens."""
    if record.status != Status.SUCCESSFUL:
        raise ServiceError(
            NOT_FINISHED, f"Forecast {record.id} is {record.status}; only a successful forecast has a zip."
        )
    folder, headers = find_members_folder(record, service), _CROSS_ORIGIN_HEADERS | {"Cache-Control": _IMMUTABLE}
    name = f"{record.id}.zarr.zip"
    if isinstance(folder.path, Path):
        path = zip_path(folder.path)
        if not path.exists():
            await to_thread.run_sync(build_zip, folder.path, lambda: check_data(record.id, service), limiter=BUILDERS)
        return FileResponse(path, headers=headers, media_type="application/zip", filename=name)
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    content = stream_zip(folder.store) if request.method == "GET" else ()
    return StreamingResponse(content, headers=headers, media_type="application/zip")


@router.get("/forecast/{forecast_id}/plots/maps.png", response_class=Response, responses=_PNG)
def render_maps(
    record: OwnForecast,
    service: ServiceDep,
    lead_time: Annotated[
        list[str] | None,
        Query(max_length=_MAX_MAPS, description="Lead time to draw, such as 24h; 1, 5 and 10 days by default."),
    ] = None,
) -> Response:
    """Return maps of one member, the ensemble mean and the spread, as PNG."""
    store = open_ensemble(record, service)
    with _drawing_lock:
        return _png_response(plot_maps(store, tuple(lead_time or ())))


@router.get("/forecast/{forecast_id}/plots/plume.png", response_class=Response, responses=_PNG)
def render_plume(
    record: OwnForecast,
    service: ServiceDep,
    latitude: Annotated[float, Query(ge=-90, le=90)] = 51.5,
    longitude: Annotated[float, Query(ge=-180, le=360)] = 0.0,
) -> Response:
    """Return the time series of every member at the grid point nearest to a location, as PNG."""
    store = open_ensemble(record, service)
    initial_state = find_data_folder(record, service).initial_state
    with _drawing_lock:
        return _png_response(plot_plume(store, initial_state, latitude, longitude))


def _png_response(picture: bytes) -> Response:
    return Response(picture, media_type="image/png", headers={"Cache-Control": "no-cache"})
