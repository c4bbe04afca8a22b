"""Route to inspect files before a forecast is submitted."""

from functools import partial
from typing import Annotated

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.datastructures import UploadFile

from service.checkpoints import read_named_manifest
from service.child_processes import while_connected
from service.dependencies import DISK_SPACE, Owner, Service, ServiceDep
from service.faults import Faults, located_at
from service.initial_states import PARSING_SECONDS
from service.limits import hold_upload_place
from service.openapi import inspection_body
from service.problems import PROBLEM_RESPONSES, VALIDATION, ServiceError
from service.uploads import MAX_STATE_FILES, read_form, save_uploads
from weather.bundled import DEFAULT_CHECKPOINT
from weather.ingest.parent import ingest_inspection
from weather.manifest import ModelSpec
from weather.readers.inspection import Inspection
from weather.times import parse_time

router = APIRouter(tags=["forecasts"], responses=PROBLEM_RESPONSES)


@router.post("/inspect", dependencies=[DISK_SPACE], openapi_extra={"requestBody": inspection_body(MAX_STATE_FILES)})
async def inspect_files(
    request: Request,
    service: ServiceDep,
    owner: Owner,
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
    spec, time = await to_thread.run_sync(_check_query, service, model, init_time)
    async with hold_upload_place(service, owner) as place, read_form(request, MAX_STATE_FILES) as form:
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
            inspect = partial(ingest_inspection, paths, names, spec, time)
            with located_at("body", "initial_state"):
                return await while_connected(request, place.run(inspect, PARSING_SECONDS, paths[0].parent))


def _check_query(service: Service, model: str, init_time: str | None) -> tuple[ModelSpec, np.datetime64 | None]:
    """Return the description of the checkpoint and the initial time that the query names."""
    faults = Faults()
    folders = service.settings.storage.checkpoint_folders
    manifest = faults.attempt(("query", "model"), read_named_manifest, model, folders)
    time = faults.attempt(("query",), parse_time, init_time) if init_time else None
    faults.check()
    assert manifest is not None
    return manifest.model, time
