"""Ask for a forecast, follow it, list, call off."""

import time
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from jobs.forecasts import ForecastRecord, dismiss, list_forecasts
from jobs.retention import delete_data
from jobs.states import OPEN, Status
from service.callers import Owner, OwnForecast
from service.context import Base, Service, ServiceHere
from service.problems import DOCUMENTED, NOT_FINISHED, ServiceError
from service.requests import ReplayBody
from service.states import initial_state_of
from service.submission import accept, estimate, manifest_of, replay
from service.uploads import REQUEST_BODY, Asked, asked
from service.views import ForecastList, ForecastView, Link, eta_seconds, planned_seconds, view

router = APIRouter(tags=["forecasts"], responses=DOCUMENTED)

_LONGEST_RETRY, _FIRST_RETRY = 30, 2

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]


class EstimateView(BaseModel):
    """What a forecast would take that is asked for now; null is "not measured yet"."""

    request: dict[str, object]
    network_evaluations: int = Field(description="Of both networks, each of one member.")
    uncompressed_bytes: int = Field(description="Bytes of the members' fields before compression.")
    store_bytes: int | None = Field(description="Bytes of the members that are expected on disk.")
    other_bytes: int = Field(description="Bytes of all else, as the summary, before compression.")
    memory_bytes: int | None = Field(description="Peak memory of its worker: on its GPU, or of the process.")
    wait_seconds: float | None = Field(description="Seconds until a worker is free; null too where none is alive.")
    seconds: float | None = Field(description="Seconds from then to the end.")
    is_scaled: bool = Field(description="Whether speeds were measured with groups of another size only.")


@router.post(
    "/forecast",
    status_code=202,
    response_model=ForecastView,
    responses={200: {"model": ForecastView | EstimateView, "description": "Had been accepted before; or the estimate"}},
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def submit(
    request: Request,
    service: ServiceHere,
    owner: Owner,
    base: Base,
    idempotency_key: Key = None,
    validate_only: Annotated[bool, Query(description="Check and estimate; make nothing.")] = False,
) -> Response:
    """Accept a forecast; its `data` link can be opened at once and fills as lead times are done.

    As JSON, from a state of the catalogue; or as multipart, with the files of an initial state.
    """
    async with asked(request) as wanted:
        return await run_in_threadpool(_submitted, wanted, service, owner, base, idempotency_key, validate_only)


def _submitted(asked: Asked, service: Service, owner: str, base: str, key: str | None, validate_only: bool) -> Response:
    manifest = manifest_of(service, asked.body)
    state = initial_state_of(asked, manifest)
    if validate_only:
        told = estimate(service, asked.body, manifest, state)
        shown = EstimateView(
            request=told.request.model_dump(mode="json"),
            network_evaluations=told.network_evaluations,
            uncompressed_bytes=told.plan.uncompressed_bytes,
            store_bytes=told.plan.store_bytes,
            other_bytes=told.plan.other_bytes,
            memory_bytes=told.plan.memory_bytes,
            wait_seconds=_rounded(told.plan.wait_seconds),
            seconds=_rounded(told.plan.seconds),
            is_scaled=told.plan.is_scaled,
        )
        return JSONResponse(shown.model_dump(mode="json"), 200)
    return _accepted(*accept(service, owner, asked.body, manifest, state, key), service, base)


def _accepted(record: ForecastRecord, is_new: bool, service: Service, base: str) -> Response:
    response = _shown(record, service, base, 202 if is_new else 200)
    response.headers["Location"] = f"{base}/v1/forecast/{record.id}"
    if not is_new:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@router.post(
    "/forecast/{forecast_id}/replay",
    status_code=202,
    response_model=ForecastView,
    responses={200: {"model": ForecastView, "description": "Had been accepted before"}},
)
def replay_members(
    record: OwnForecast, body: ReplayBody, service: ServiceHere, base: Base, idempotency_key: Key = None
) -> Response:
    """Make members of an earlier forecast again, exactly, as a forecast of their own; also where they were not kept."""
    return _accepted(*replay(service, record.owner, record, body.members, idempotency_key), service, base)


@router.get("/forecast", response_model=ForecastList)
def list_all(
    service: ServiceHere,
    owner: Owner,
    base: Base,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(max_length=40, description="Id of the last one seen.")] = None,
) -> ForecastList:
    """Return forecasts, the newest first."""
    records = list_forecasts(service.database, owner, status, limit, before)
    links = [Link(rel="self", href=f"{base}/v1/forecast")]
    if len(records) == limit:
        asked = f"&status={status}" if status else ""
        links.append(Link(rel="next", href=f"{base}/v1/forecast?limit={limit}&before={records[-1].id}{asked}"))
    now = time.time()
    planned = planned_seconds(service.database, records, now)
    views = [view(record, base, now, planned.get(record.id)) for record in records]
    return ForecastList(forecasts=views, links=links)


@router.get("/forecast/{forecast_id}", response_model=ForecastView)
def status(record: OwnForecast, service: ServiceHere, base: Base, request: Request) -> Response:
    """Return how far a forecast is; ask again after `Retry-After` seconds, with the `ETag` as `If-None-Match`."""
    response = _shown(record, service, base, 200)
    if request.headers.get("If-None-Match") == response.headers["ETag"]:
        return Response(status_code=304, headers={"ETag": response.headers["ETag"]})
    return response


@router.delete(
    "/forecast/{forecast_id}",
    status_code=202,
    response_model=ForecastView,
    responses={204: {"description": "It had ended; its data is gone now"}},
)
def call_off(
    record: OwnForecast,
    service: ServiceHere,
    base: Base,
    keep_data: Annotated[bool, Query(description="Only call off; one that has ended is refused (409).")] = False,
) -> Response:
    """Call a forecast off: one that waits never runs, one that runs stops, and its lead times stay (202).

    Of one that has ended, remove the data; the record stays (204).
    """
    if record.status in OPEN or keep_data:
        return _shown(dismiss(service.database, record.id, record.owner), service, base, 202)
    delete_data(service.database, service.data, record.id, record.owner)
    return Response(status_code=204)


@router.get("/forecast/{forecast_id}/receipt")
def receipt(record: OwnForecast) -> JSONResponse:
    """Return what was done: request, seed, checkpoint, versions, device, seconds."""
    if record.status != Status.SUCCESSFUL:
        raise ServiceError(NOT_FINISHED, f"Forecast {record.id} is {record.status}; only successful ones have one.")
    return JSONResponse(record.receipt)


def _shown(record: ForecastRecord, service: Service, base: str, code: int) -> JSONResponse:
    now = time.time()
    planned = planned_seconds(service.database, [record], now).get(record.id)
    headers = {"ETag": f'W/"{record.status}-{record.lead_times}-{record.data}"', "Cache-Control": "no-cache"}
    if record.status in OPEN:
        eta = eta_seconds(record, now, planned)
        seconds = _FIRST_RETRY if eta is None else min(max(round(eta / 4), 1), _LONGEST_RETRY)
        headers["Retry-After"] = str(seconds)
    return JSONResponse(view(record, base, now, planned).model_dump(mode="json"), code, headers)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.3g}")
