"""The ensemble and its summary over HTTP: files as they are, while they grow and afterwards; the ensemble as a zip."""

import re
import zipfile
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from jobs.forecasts import ForecastRecord
from jobs.states import Status
from service.callers import OwnForecast
from service.context import ServiceHere
from service.files import answer_file, stream_zip
from service.folders import available_folder, members_folder
from service.problems import DOCUMENTED, NOT_FINISHED, NOT_FOUND, ServiceError, answer
from weather.places import Place

router = APIRouter(tags=["data"], responses=DOCUMENTED)

_KEY = re.compile(r"(?:[a-z0-9_]+/)?zarr\.json|[a-z0-9_]+/c(?:[./]\d{1,9}){0,6}")
_OPEN_TO_PAGES = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Range, Content-Length, ETag, Accept-Ranges",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@router.get("/forecast/{forecast_id}/ensemble.zarr/{key:path}", response_class=Response)
@router.head("/forecast/{forecast_id}/ensemble.zarr/{key:path}", include_in_schema=False)
def chunk(record: OwnForecast, key: str, service: ServiceHere, request: Request) -> Response:
    """Return a file of the ensemble; what is not there yet is 404, which Zarr reads as NaN."""
    return _file(record, available_folder(record, service).store, key, request)


@router.get("/forecast/{forecast_id}/summary.zarr/{key:path}", response_class=Response)
@router.head("/forecast/{forecast_id}/summary.zarr/{key:path}", include_in_schema=False)
def summary_chunk(record: OwnForecast, key: str, service: ServiceHere, request: Request) -> Response:
    """Return a file of the summary: mean, spread, quantiles and exceedance; 404 as for the ensemble."""
    return _file(record, available_folder(record, service).summary, key, request)


def _file(record: ForecastRecord, store: Place, key: str, request: Request) -> Response:
    place = store / key
    facts = place.look() if _KEY.fullmatch(key) else None
    if facts is None:
        missing = answer(NOT_FOUND, f"The store has no {key!r}, or not yet.")
        missing.headers.update(_OPEN_TO_PAGES)
        return missing
    if place.name == "zarr.json":
        return Response(place.read_bytes(), 200, {"Cache-Control": "no-cache"} | _OPEN_TO_PAGES, "application/json")
    caching = _FOR_EVER if record.status == Status.SUCCESSFUL else "no-cache"
    return answer_file(place, facts, request, {"Cache-Control": caching} | _OPEN_TO_PAGES)


@router.options("/forecast/{forecast_id}/ensemble.zarr/{key:path}", include_in_schema=False)
@router.options("/forecast/{forecast_id}/summary.zarr/{key:path}", include_in_schema=False)
def preflight() -> Response:
    """Allow any page to read with ranges."""
    allowed = {"Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "Range, Authorization"}
    return Response(status_code=204, headers=_OPEN_TO_PAGES | allowed | {"Access-Control-Max-Age": "86400"})


@router.get("/forecast/{forecast_id}/ensemble.zarr.zip", response_class=Response)
@router.head("/forecast/{forecast_id}/ensemble.zarr.zip", include_in_schema=False)
def archive(record: OwnForecast, service: ServiceHere, request: Request) -> Response:
    """Return the whole store as one file, which `zarr.storage.ZipStore` opens; only after the end."""
    if record.status != Status.SUCCESSFUL:
        raise ServiceError(NOT_FINISHED, f"Forecast {record.id} is {record.status}; the zip is for successful ones.")
    folder, headers = members_folder(record, service), _OPEN_TO_PAGES | {"Cache-Control": _FOR_EVER}
    name = f"{record.id}.zarr.zip"
    if isinstance(folder.path, Path):
        path = _zipped(folder.path)
        return FileResponse(path, headers=headers, media_type="application/zip", filename=name)
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    content = stream_zip(folder.store) if request.method == "GET" else ()
    return StreamingResponse(content, headers=headers, media_type="application/zip")


def _zipped(folder: Path) -> Path:
    """Return the zip of a store, made when it is asked for first; it is there whole or not at all."""
    path = folder / "ensemble.zarr.zip"
    if not path.exists():
        building = path.with_suffix(".partial")
        with zipfile.ZipFile(building, "w", zipfile.ZIP_STORED) as target:
            for file in sorted((folder / "ensemble.zarr").rglob("*")):
                if file.is_file():
                    target.write(file, file.relative_to(folder / "ensemble.zarr"))
        building.replace(path)
    return path
