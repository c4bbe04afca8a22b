"""Routes for the files of the ensemble and summary stores, and for the ensemble as a zip."""

import re
import zipfile
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from jobs.forecasts import ForecastRecord
from jobs.states import Status
from service.callers import OwnForecast
from service.context import ServiceDep
from service.files import respond_with_file, stream_zip
from service.folders import find_data_folder, find_members_folder
from service.problems import NOT_FINISHED, NOT_FOUND, PROBLEM_RESPONSES, ServiceError, problem_response
from storage.paths import StoragePath

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_KEY = re.compile(r"(?:[a-z0-9_]+/)?zarr\.json|[a-z0-9_]+/c(?:[./]\d{1,9}){0,6}")
_CROSS_ORIGIN_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Range, Content-Length, ETag, Accept-Ranges",
}
_IMMUTABLE = "public, max-age=31536000, immutable"


@router.get("/forecast/{forecast_id}/ensemble.zarr/{key:path}", response_class=Response)
@router.head("/forecast/{forecast_id}/ensemble.zarr/{key:path}", include_in_schema=False)
def read_ensemble_file(record: OwnForecast, key: str, service: ServiceDep, request: Request) -> Response:
    """Return a file of the ensemble store; a chunk that is not written yet is a 404, which Zarr reads as NaN."""
    return _read_store_file(record, find_data_folder(record, service).store, key, request)


@router.get("/forecast/{forecast_id}/summary.zarr/{key:path}", response_class=Response)
@router.head("/forecast/{forecast_id}/summary.zarr/{key:path}", include_in_schema=False)
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


@router.options("/forecast/{forecast_id}/ensemble.zarr/{key:path}", include_in_schema=False)
@router.options("/forecast/{forecast_id}/summary.zarr/{key:path}", include_in_schema=False)
def allow_cross_origin_reads() -> Response:
    """Allow web pages of any origin to read the store, with ranges."""
    allowed = {"Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "Range, Authorization"}
    return Response(status_code=204, headers=_CROSS_ORIGIN_HEADERS | allowed | {"Access-Control-Max-Age": "86400"})


@router.get("/forecast/{forecast_id}/ensemble.zarr.zip", response_class=Response)
@router.head("/forecast/{forecast_id}/ensemble.zarr.zip", include_in_schema=False)
def download_zip(record: OwnForecast, service: ServiceDep, request: Request) -> Response:
    """Return the ensemble store of a successful forecast as one zip file, which `zarr.storage.ZipStore` opens."""
    if record.status != Status.SUCCESSFUL:
        raise ServiceError(
            NOT_FINISHED, f"Forecast {record.id} is {record.status}; only a successful forecast has a zip."
        )
    folder, headers = find_members_folder(record, service), _CROSS_ORIGIN_HEADERS | {"Cache-Control": _IMMUTABLE}
    name = f"{record.id}.zarr.zip"
    if isinstance(folder.path, Path):
        path = _build_zip(folder.path)
        return FileResponse(path, headers=headers, media_type="application/zip", filename=name)
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    content = stream_zip(folder.store) if request.method == "GET" else ()
    return StreamingResponse(content, headers=headers, media_type="application/zip")


def _build_zip(folder: Path) -> Path:
    """Return the path of the zip of a store, building it at the first request."""
    path = folder / "ensemble.zarr.zip"
    if not path.exists():
        building = path.with_suffix(".partial")
        with zipfile.ZipFile(building, "w", zipfile.ZIP_STORED) as target:
            for file in sorted((folder / "ensemble.zarr").rglob("*")):
                if file.is_file():
                    target.write(file, file.relative_to(folder / "ensemble.zarr"))
        building.replace(path)
    return path
