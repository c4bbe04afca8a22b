"""Routes to submit, list, read, cancel and delete batches of forecasts."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from jobs.batches import BatchRecord, cancel_batch, list_batches, read_parts
from jobs.forecasts import ForecastRecord
from jobs.logs import add_log_subjects
from jobs.retention import delete_data
from jobs.rows.states import OPEN
from service.batch_requests import BatchBody
from service.batch_restart import restart_parts
from service.batch_submission import BatchSubmission
from service.batch_views import (
    BatchList,
    BatchView,
    batch_retry_seconds,
    batch_tag,
    status_of,
    summarise_batch,
    view_batch,
)
from service.bodies import read_json_body, validate_body
from service.caching import is_unchanged
from service.child_processes import while_connected
from service.dependencies import DISK_SPACE, BaseUrl, OwnBatch, Owner, Service, ServiceDep
from service.openapi import model_body
from service.outlooks import read_outlooks
from service.problems import PROBLEM_RESPONSES
from service.routes.forecasts import EstimateView, Key, view_estimate
from service.threads import READERS, REMOVERS, WRITERS, in_threads
from service.views import Link

router = APIRouter(tags=["batches"], responses=PROBLEM_RESPONSES)


class BatchEstimateView(BaseModel):
    """The estimated cost of a batch that is submitted now."""

    num_parts: int
    network_evaluations: int = Field(description="Evaluations of both networks for all parts.")
    uncompressed_bytes: int = Field(description="Bytes of the members' fields of all parts before compression.")
    seconds: float | None = Field(description="Seconds that the parts take one after another; null: not measured yet.")
    part: EstimateView = Field(description="The estimate of the first part; all others need as much.")


@router.post(
    "/batch",
    status_code=202,
    dependencies=[DISK_SPACE],
    response_model=BatchView,
    responses={200: {"model": BatchView | BatchEstimateView, "description": "Accepted earlier; or the estimate"}},
    openapi_extra={"requestBody": model_body("BatchBody")},
)
async def submit_batch(
    request: Request,
    service: ServiceDep,
    owner: Owner,
    base: BaseUrl,
    idempotency_key: Key = None,
    validate_only: Annotated[bool, Query(description="Only check the request and estimate its cost.")] = False,
) -> Response:
    """Accept a batch: one forecast for each initial state, equal in all else, all of them or none.

    Its `data` link opens all parts as one Zarr store; lead times appear as they are computed. The key in
    `Idempotency-Key` is one of batches: forecasts may use the same.
    """
    body = validate_body(BatchBody, await read_json_body(request))
    submission = BatchSubmission(service, owner, body, idempotency_key)
    if validate_only:
        plan, num_parts = await while_connected(request, submission.estimate())
        part = view_estimate(plan, body.part(plan.request.initial_state or body.sources()[0][1]))
        estimate = BatchEstimateView(
            num_parts=num_parts,
            network_evaluations=num_parts * part.network_evaluations,
            uncompressed_bytes=num_parts * part.uncompressed_bytes,
            seconds=None if part.seconds is None else num_parts * part.seconds,
            part=part,
        )
        return JSONResponse(estimate.model_dump(mode="json"), 200)
    batch, is_new = await while_connected(request, submission.accept())
    add_log_subjects(batch_id=batch.id)
    response = await respond_with_batch(batch, service, base, 202 if is_new else 200)
    response.headers["Location"] = f"{base}/v1/batch/{batch.id}"
    if not is_new:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@in_threads(READERS)
def respond_with_batch(batch: BatchRecord, service: Service, base: str, code: int) -> Response:
    """Return the response with the view of a batch as it is now."""
    return _view_response(batch, load_parts(service, batch), service, base, code)


def load_parts(service: Service, batch: BatchRecord) -> list[ForecastRecord]:
    """Return the parts of a batch in their order."""
    with service.database.read() as connection:
        return read_parts(connection, [batch.id])[batch.id]


def _view_response(
    batch: BatchRecord, parts: list[ForecastRecord], service: Service, base: str, code: int
) -> JSONResponse:
    now = time.time()
    outlooks = read_outlooks(service.database, parts, now)
    headers = {"ETag": batch_tag(parts)}
    if (seconds := batch_retry_seconds(parts, now, outlooks)) is not None:
        headers["Retry-After"] = str(seconds)
    return JSONResponse(view_batch(batch, parts, base, now, outlooks).model_dump(mode="json"), code, headers)


@router.get("/batch", response_model=BatchList)
@router.head("/batch", include_in_schema=False)
@in_threads(READERS)
def list_own_batches(
    service: ServiceDep,
    owner: Owner,
    base: BaseUrl,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[
        str | None, Query(max_length=40, description="Return only batches older than the one of this id.")
    ] = None,
) -> BatchList:
    """Return the caller's batches, newest first, without their parts."""
    with service.database.read() as connection:
        found = list_batches(connection, owner, limit + 1, before)
        batches, more = found[:limit], found[limit:]
        parts = read_parts(connection, [batch.id for batch in batches])
    links = [Link(rel="self", href=f"{base}/v1/batch")]
    if more:
        links.append(Link(rel="next", href=f"{base}/v1/batch?limit={limit}&before={batches[-1].id}"))
    now = time.time()
    outlooks = read_outlooks(service.database, [part for group in parts.values() for part in group], now)
    views = [summarise_batch(batch, parts[batch.id], base, now, outlooks) for batch in batches]
    return BatchList(batches=views, links=links)


@router.get("/batch/{batch_id}", response_model=BatchView)
@router.head("/batch/{batch_id}", include_in_schema=False)
@in_threads(READERS)
def read_own_batch(batch: OwnBatch, service: ServiceDep, base: BaseUrl, request: Request) -> Response:
    """Return a batch: the status and progress of all parts together, and of each.

    Poll again after `Retry-After` seconds, with `If-None-Match` set to the last `ETag`.
    """
    response = _view_response(batch, load_parts(service, batch), service, base, 200)
    if not is_unchanged(request, response.headers["ETag"]):
        return response
    kept = {name: response.headers[name] for name in ("ETag", "Retry-After") if name in response.headers}
    return Response(status_code=304, headers=kept)


@router.delete(
    "/batch/{batch_id}",
    status_code=202,
    response_model=BatchView,
    responses={204: {"description": "All parts had ended; their data is deleted"}},
)
@in_threads(REMOVERS)
def cancel_or_delete_batch(
    batch: OwnBatch,
    service: ServiceDep,
    base: BaseUrl,
    keep_data: Annotated[bool, Query(description="Only cancel; refuse if all parts have ended (409).")] = False,
) -> Response:
    """Cancel the parts that have not ended; complete lead times are kept (202).

    If all parts have ended, delete the data of all; the records are kept (204).
    """
    parts = load_parts(service, batch)
    if status_of(parts) in OPEN or keep_data:
        service.database.write_at_any_cost(lambda connection: cancel_batch(connection, batch.id, batch.owner))
        return _view_response(batch, load_parts(service, batch), service, base, 202)
    for part in parts:
        delete_data(service.database, service.data, part.id, batch.owner)
    return Response(status_code=204)


@router.post(
    "/batch/{batch_id}/restart",
    status_code=202,
    dependencies=[DISK_SPACE],
    response_model=BatchView,
    responses={200: {"model": BatchView, "description": "No part has failed or was cancelled"}},
)
@in_threads(WRITERS)
def restart_batch(batch: OwnBatch, service: ServiceDep, base: BaseUrl) -> Response:
    """Submit the parts that failed or were cancelled again, in their places, from the same initial states.

    The new forecasts have other ids; the earlier ones leave the batch and keep their records.
    """
    is_restarted = restart_parts(service, batch)
    return _view_response(batch, load_parts(service, batch), service, base, 202 if is_restarted else 200)
