"""Routes to submit, list, replay, cancel and delete forecasts."""

import re
import time
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from jobs.forecasts import ForecastRecord, cancel_forecast, list_forecasts
from jobs.handling import MAX_LABELS, parse_label
from jobs.logs import add_log_subjects
from jobs.planning.plans import Plan
from jobs.retention import delete_data
from jobs.rows.states import OPEN, Status
from service.bodies import read_replay_body
from service.caching import json_response, state_tag
from service.child_processes import while_connected
from service.dependencies import (
    DISK_SPACE,
    BaseUrl,
    CallerDep,
    Owner,
    OwnForecast,
    Service,
    ServiceDep,
    check_success,
)
from service.faults import located_at
from service.initial_states import read_initial_state
from service.limits import hold_upload_place, read_rate_limit_headers
from service.openapi import forecast_body, model_body
from service.outlooks import read_outlooks
from service.problems import PROBLEM_RESPONSES
from service.requests import ForecastBody, ReplayBody
from service.roles import ALL_OWNERS, check_owner
from service.submission import CheckedBody, accept, check_body, estimate, replay
from service.threads import REMOVERS, WRITERS, in_threads
from service.uploads import MAX_STATE_FILES, parse_request
from service.views import (
    Caution,
    ForecastList,
    ForecastView,
    Link,
    retry_seconds,
    view_cautions,
    view_forecast,
)
from weather.initial_state import InitialState

router = APIRouter(tags=["forecasts"], responses=PROBLEM_RESPONSES)

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})(?![\d.])", re.ASCII | re.IGNORECASE)
_MAX_WAIT_SECONDS = 60
_POLL_SECONDS = 0.25

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]


class EstimateView(BaseModel):
    """The estimated cost of a forecast that is submitted now; null means "not measured yet"."""

    request: ForecastBody = Field(description="The body with all defaults and the seed filled in.")
    noise: dict[str, float | dict[str, float]] = Field(
        description="Correlation in time and scale of the checkpoint's noise; the scale may be one number by variable."
    )
    network_evaluations: int = Field(
        description="Evaluations of both networks: members × lead times × (NFE + 1), the 1 for the warm start."
    )
    uncompressed_bytes: int = Field(description="Bytes of the members' fields before compression.")
    store_bytes: int | None = Field(description="Expected bytes of the members on disk.")
    other_bytes: int = Field(description="Bytes of everything else, such as the summary, before compression.")
    memory_bytes: int | None = Field(description="Peak memory of the worker: on its GPU, or of its process.")
    wait_seconds: float | None = Field(description="Seconds until a worker is free; null also if no worker is alive.")
    seconds: float | None = Field(description="Seconds from the start to the end.")
    is_scaled: bool = Field(description="Whether speeds were measured only with another group size.")
    compile_seconds: float | None = Field(
        description="Seconds for which a worker that compiles networks does so once, beside its first forecast."
    )
    warnings: list[Caution] = Field(description="What is unusual about the initial state.")


@router.post(
    "/forecast",
    status_code=202,
    dependencies=[DISK_SPACE],
    response_model=ForecastView,
    responses={
        200: {"model": ForecastView | EstimateView, "description": "Already accepted earlier; or the estimate"},
        201: {"model": ForecastView, "description": "Accepted, and ended while the request waited"},
    },
    openapi_extra={"requestBody": forecast_body(MAX_STATE_FILES)},
)
async def submit_forecast(
    request: Request,
    service: ServiceDep,
    owner: Owner,
    base: BaseUrl,
    idempotency_key: Key = None,
    prefer: Annotated[
        str | None, Header(max_length=200, description="`wait=N`: answer when it has ended, N seconds later at most.")
    ] = None,
    validate_only: Annotated[bool, Query(description="Only check the request and estimate its cost.")] = False,
) -> Response:
    """Accept a forecast. Its `data` link can be opened at once; lead times appear as they are computed.

    The body is JSON for a state of the catalogue or of an earlier forecast, or multipart with the files of a state.
    With `Prefer: wait=N` (RFC 7240) the answer comes when the forecast has ended, or after N, at most 60, seconds.
    """
    async with parse_request(request, partial(hold_upload_place, service, owner)) as parsed:
        checked = await to_thread.run_sync(check_body, service, owner, parsed.body)
        state = await while_connected(request, read_initial_state(parsed, checked.manifest, service, owner))
        if validate_only:
            return await to_thread.run_sync(_estimate, service, owner, checked, state, limiter=WRITERS)
        arguments = service, owner, checked, state, idempotency_key
        record, is_new = await to_thread.run_sync(accept, *arguments, limiter=WRITERS)
    seconds = _parse_wait(prefer or "")
    if seconds:
        record = await while_connected(request, _wait_for_end(service, record, seconds))
    response = await to_thread.run_sync(_accepted_response, record, is_new, service, base, limiter=WRITERS)
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds}"
    return response


def _parse_wait(prefer: str) -> int:
    """Return the seconds that a header `Prefer` lets the request wait, at most 60; 0 if it names none."""
    found = _WAIT.search(prefer)
    return 0 if found is None else min(int(found[1]), _MAX_WAIT_SECONDS)


async def _wait_for_end(service: Service, record: ForecastRecord, seconds: float) -> ForecastRecord:
    """Return the forecast when it has ended, or as it is after so many seconds."""
    with anyio.move_on_after(seconds):
        while record.status in OPEN:
            await anyio.sleep(_POLL_SECONDS)
            record = await service.forecasts.read(record.id) or record
    return record


def _estimate(service: Service, owner: str, checked: CheckedBody, state: InitialState) -> Response:
    return JSONResponse(
        view_estimate(estimate(service, owner, checked, state), checked.body).model_dump(mode="json"), 200
    )


def _accepted_response(record: ForecastRecord, is_new: bool, service: Service, base: str) -> Response:
    add_log_subjects(forecast_id=record.id)
    accepted = 202 if record.status in OPEN else 201
    response = _view_response(record, service, base, accepted if is_new else 200)
    response.headers["Location"] = f"{base}/v1/forecast/{record.id}"
    has_window = "Retry-After" not in response.headers
    response.headers.update(read_rate_limit_headers(service, record.owner, has_window=has_window))
    if not is_new:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@router.post(
    "/forecast/{forecast_id}/replay",
    status_code=202,
    dependencies=[DISK_SPACE],
    response_model=ForecastView,
    responses={200: {"model": ForecastView, "description": "Already accepted earlier"}},
    openapi_extra={"requestBody": model_body("ReplayBody")},
)
@in_threads(WRITERS)
def replay_members(
    record: OwnForecast,
    body: Annotated[ReplayBody, Depends(read_replay_body)],
    service: ServiceDep,
    base: BaseUrl,
    idempotency_key: Key = None,
) -> Response:
    """Recompute members of an earlier forecast exactly, as a new forecast, even if their fields were not stored."""
    replayed, is_new = replay(service, record.owner, record, body, idempotency_key)
    return _accepted_response(replayed, is_new, service, base)


@router.get("/forecast", response_model=ForecastList)
@router.head("/forecast", include_in_schema=False)
def list_own_forecasts(
    service: ServiceDep,
    caller: CallerDep,
    base: BaseUrl,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[
        str | None, Query(max_length=40, description="Return only forecasts older than the one of this id.")
    ] = None,
    label: Annotated[
        list[Annotated[str, Query(max_length=200)]] | None,
        Query(max_length=MAX_LABELS, description="`NAME:VALUE`: only forecasts with this label; may be repeated."),
    ] = None,
    batch: Annotated[
        str | None, Query(max_length=40, description="Return only the parts of the batch of this id.")
    ] = None,
    key: Annotated[
        str | None,
        Query(
            alias="owner", max_length=64, description="For operators: an API key, or `all`; by default the caller's."
        ),
    ] = None,
) -> ForecastList:
    """Return the caller's forecasts, newest first, to operators also those of other keys.

    The parts of batches are returned only with `batch`.
    """
    check_owner(caller, key)
    owner = None if key == ALL_OWNERS else key or caller.owner
    with located_at("query"):
        labels = [parse_label(text) for text in label or ()]
    with service.database.read() as connection:
        statuses = None if status is None else [status]
        records = list_forecasts(connection, owner, statuses, limit + 1, before, labels, batch)
    records, more = records[:limit], records[limit:]
    links = [Link(rel="self", href=f"{base}/v1/forecast")]
    if more:
        query = [("limit", str(limit)), ("before", records[-1].id), *([("status", str(status))] if status else ())]
        query += [("label", text) for text in label or ()] + ([("batch", batch)] if batch else [])
        query += [("owner", key)] if key else []
        links.append(Link(rel="next", href=f"{base}/v1/forecast?{urlencode(query)}"))
    now = time.time()
    outlooks = read_outlooks(service.database, records, now)
    keep_hours = service.settings.storage.keep_hours
    views = [view_forecast(record, base, now, outlooks.get(record.id), keep_hours) for record in records]
    return ForecastList(forecasts=views, links=links)


@router.delete(
    "/forecast/{forecast_id}",
    status_code=202,
    response_model=ForecastView,
    responses={204: {"description": "The forecast had ended; its data is deleted"}},
)
@in_threads(REMOVERS)
def cancel_or_delete_forecast(
    record: OwnForecast,
    service: ServiceDep,
    base: BaseUrl,
    keep_data: Annotated[bool, Query(description="Only cancel; refuse if the forecast has ended (409).")] = False,
) -> Response:
    """Cancel a forecast that has not ended; its complete lead times are kept (202).

    If the forecast has ended, delete its data; its record is kept (204).
    """
    if record.status in OPEN or keep_data:
        record = service.database.write_at_any_cost(
            lambda connection: cancel_forecast(connection, record.id, record.owner)
        )
        return _view_response(record, service, base, 202)
    delete_data(service.database, service.data, record.id, record.owner)
    return Response(status_code=204)


@router.get("/forecast/{forecast_id}/receipt")
@router.head("/forecast/{forecast_id}/receipt", include_in_schema=False)
def read_receipt(record: OwnForecast, request: Request) -> Response:
    """Return the receipt of a forecast: request, seed, checkpoint, versions, device, seconds; 409 if unsuccessful."""
    check_success(record, "receipt")
    return json_response(request, bytes(JSONResponse(record.receipt).body))


def _view_response(record: ForecastRecord, service: Service, base: str, code: int) -> JSONResponse:
    now = time.time()
    outlook = read_outlooks(service.database, [record], now).get(record.id)
    headers = {"ETag": state_tag(record)}
    if (seconds := retry_seconds(record, now, outlook)) is not None:
        headers["Retry-After"] = str(seconds)
    view = view_forecast(record, base, now, outlook, service.settings.storage.keep_hours)
    return JSONResponse(view.model_dump(mode="json"), code, headers)


def view_estimate(plan: Plan, body: ForecastBody) -> EstimateView:
    """Return the JSON view of the plan of a forecast with its estimates."""
    return EstimateView(
        request=ForecastBody.of(
            plan.request, body.priority, plan.request.initial_state or body.initial_state, plan.handling
        ),
        noise=plan.noise.parameters,
        network_evaluations=plan.network_evaluations,
        uncompressed_bytes=plan.members_bytes,
        store_bytes=plan.store_bytes,
        other_bytes=plan.other_bytes,
        memory_bytes=plan.memory_bytes,
        wait_seconds=_round_seconds(plan.wait_seconds),
        seconds=_round_seconds(plan.seconds),
        is_scaled=plan.is_scaled,
        compile_seconds=_round_seconds(plan.compile_seconds),
        warnings=view_cautions(plan.request),
    )


def _round_seconds(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.3g}")
