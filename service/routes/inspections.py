"""Route to inspect files before a forecast is submitted."""

from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.datastructures import UploadFile

from service.dependencies import Service, ServiceDep, authenticate
from service.faults import Faults, located_at
from service.initial_states import PARSERS
from service.openapi import inspection_body
from service.problems import PROBLEM_RESPONSES, VALIDATION, ServiceError
from service.uploads import MAX_STATE_FILES, read_form, save_uploads
from weather.bundled import DEFAULT_CHECKPOINT, find_named_checkpoint
from weather.ingest.parent import ingest_inspection
from weather.manifest import read_manifest
from weather.readers.inspection import Inspection
from weather.times import parse_time

router = APIRouter(tags=["forecasts"], responses=PROBLEM_RESPONSES, dependencies=[Depends(authenticate)])


@router.post("/inspect", openapi_extra={"requestBody": inspection_body(MAX_STATE_FILES)})
async def inspect_files(
    request: Request,
    service: ServiceDep,
    model: Annotated[
        str, Query(max_length=100, description="Name of the checkpoint of the forecast.")
    ] = DEFAULT_CHECKPOINT,
    init_time: Annotated[
        str | None, Query(max_length=40, description="Initial time in UTC; the newest by default.")
    ] = None,
) -> Inspection:
    """Return what the files of an initial state hold, what a forecast would start from, and why the rest is not used.

    `can_start` is false if no forecast can start from them; `problems` says why. Nothing is stored.
    """
    async with read_form(request, MAX_STATE_FILES) as form:
        parts = form.getlist("initial_state")
        files = [part for part in parts if isinstance(part, UploadFile)]
        if not files or len(files) < len(form.multi_items()):
            raise ServiceError(
                VALIDATION,
                f"The request must be multipart, with 1 to {MAX_STATE_FILES} files `initial_state` and nothing else. "
                f"Got: {', '.join(sorted(form)) or 'nothing'}.",
                ("body", "initial_state"),
            )
        async with save_uploads(files) as (paths, names):
            return await to_thread.run_sync(_inspect, service, paths, names, model, init_time, limiter=PARSERS)


def _inspect(
    service: Service, paths: tuple[Path, ...], names: tuple[str, ...], model: str, init_time: str | None
) -> Inspection:
    faults = Faults()
    folders = service.settings.storage.checkpoint_folders
    folder = faults.attempt(("query", "model"), find_named_checkpoint, model, folders)
    time = faults.attempt(("query",), parse_time, init_time) if init_time else None
    faults.check()
    assert folder is not None
    with located_at("body", "initial_state"):
        return ingest_inspection(paths, names, read_manifest(folder).model, time)
