"""Routes of schedules: make, list, view, change and delete them, list their runs, and open their newest forecast."""

from typing import Annotated
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from sqlalchemy import Connection

from jobs.forecasts import read_forecast
from jobs.rows.states import RunState, ScheduleState
from jobs.schedule_latest import find_latest, read_progress
from jobs.schedule_polls import read_newest
from jobs.schedule_runs import list_runs, read_clock
from jobs.schedules import (
    ScheduleRecord,
    change_schedule,
    delete_schedule,
    insert_schedule,
    list_schedules,
    read_schedule,
    set_state,
)
from service.bodies import read_json_body, validate_body
from service.caching import json_response
from service.dependencies import BaseUrl, Owner, Service, ServiceDep
from service.faults import located_at
from service.openapi import model_body
from service.outlooks import read_outlooks
from service.problems import NO_LATEST, PROBLEM_RESPONSES, SCHEDULE_FIXED, ServiceError
from service.routes.forecasts import Key
from service.schedule_plans import make_plan
from service.schedule_requests import ScheduleBody, ScheduleChange, digest_of, format_cycle
from service.schedule_views import (
    RunList,
    ScheduleList,
    ScheduleView,
    view_run,
    view_schedule,
)
from service.views import ForecastView, Link, view_forecast
from weather.times import parse_time

router = APIRouter(tags=["schedules"], responses=PROBLEM_RESPONSES)
files_router = APIRouter(tags=["schedules"], responses=PROBLEM_RESPONSES)
"""The routes of the newest forecast's files, whose query is handed on."""


def find_own_schedule(schedule_id: str, service: ServiceDep, owner: Owner) -> ScheduleRecord:
    """Return a schedule of the caller; raise `ScheduleNotFoundError` if there is none, or it is another owner's."""
    with service.database.read() as connection:
        return read_schedule(connection, schedule_id, owner)


OwnSchedule = Annotated[ScheduleRecord, Depends(find_own_schedule)]
"""The schedule named in the path; a schedule of another owner is a 404."""


@router.post(
    "/schedules",
    status_code=201,
    response_model=ScheduleView,
    responses={200: {"model": ScheduleView, "description": "Already made earlier"}},
    openapi_extra={"requestBody": model_body("ScheduleBody")},
)
async def make_schedule(
    request: Request, service: ServiceDep, owner: Owner, base: BaseUrl, idempotency_key: Key = None
) -> Response:
    """Make a schedule: from now on, the service submits a forecast for each cycle when its analyses are there.

    Forecasts count for the limits of the API key that makes it.
    """
    body = validate_body(ScheduleBody, await read_json_body(request))

    def make() -> tuple[ScheduleView, bool]:
        with service.database.read() as connection:
            now = read_clock(connection)
        plan, at_most = make_plan(service, owner, body, now), service.settings.limits.max_schedules
        with located_at("body"), service.database.write() as connection:
            arguments = owner, plan, digest_of(body), idempotency_key
            schedule, is_new = insert_schedule(connection, *arguments, at_most=at_most)
            return _view(connection, schedule, base), is_new

    view, is_new = await to_thread.run_sync(make)
    headers = {"Location": f"{base}/v1/schedules/{view.id}"} | ({} if is_new else {"Idempotent-Replayed": "true"})
    return JSONResponse(view.model_dump(mode="json"), 201 if is_new else 200, headers)


def _view(connection: Connection, schedule: ScheduleRecord, base: str) -> ScheduleView:
    return _view_all(connection, [schedule], base)[0]


def _view_all(connection: Connection, schedules: list[ScheduleRecord], base: str) -> list[ScheduleView]:
    progress = read_progress(connection, [schedule.id for schedule in schedules])
    newest, now = read_newest(connection), read_clock(connection)
    return [
        view_schedule(schedule, progress[schedule.id], newest.get(schedule.plan.dataset), base, now)
        for schedule in schedules
    ]


@router.get("/schedules", response_model=ScheduleList)
@router.head("/schedules", include_in_schema=False)
def list_own_schedules(
    service: ServiceDep,
    owner: Owner,
    base: BaseUrl,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[
        str | None, Query(max_length=40, description="Return only schedules older than the one of this id.")
    ] = None,
) -> ScheduleList:
    """Return the caller's schedules, newest first."""
    with service.database.read() as connection:
        records = list_schedules(connection, owner, limit + 1, before)
        views = _view_all(connection, records[:limit], base)
    links = [Link(rel="self", href=f"{base}/v1/schedules")]
    if len(records) > limit:
        links.append(Link(rel="next", href=f"{base}/v1/schedules?limit={limit}&before={views[-1].id}"))
    return ScheduleList(schedules=views, links=links)


@router.get("/schedules/{schedule_id}", response_model=ScheduleView)
@router.head("/schedules/{schedule_id}", include_in_schema=False)
def view_own_schedule(schedule: OwnSchedule, service: ServiceDep, base: BaseUrl, request: Request) -> Response:
    """Return a schedule: its next and its last run, how many runs have ended how, and whether any is late."""
    with service.database.read() as connection:
        return json_response(request, _view(connection, schedule, base).model_dump_json().encode())


@router.patch(
    "/schedules/{schedule_id}",
    response_model=ScheduleView,
    openapi_extra={"requestBody": model_body("ScheduleChange")},
)
async def change_own_schedule(
    schedule: OwnSchedule, request: Request, service: ServiceDep, base: BaseUrl
) -> ScheduleView:
    """Change a schedule, pause or resume it. Cycles that fall into a pause have no runs, except for the newest one."""
    change = validate_body(ScheduleChange, await read_json_body(request))
    return await to_thread.run_sync(_change, service, schedule, change, base)


def _change(service: Service, schedule: ScheduleRecord, change: ScheduleChange, base: str) -> ScheduleView:
    plan, body = None, change.apply_to(schedule.plan)
    if body is not None:
        _refuse_fixed(schedule)
        plan = make_plan(service, schedule.owner, body, schedule.created, schedule.plan)
    with located_at("body"), service.database.write() as connection:
        schedule = read_schedule(connection, schedule.id, schedule.owner)
        if plan is not None:
            schedule = change_schedule(connection, schedule, plan)
        if change.state is not None and change.state != schedule.state:
            schedule = set_state(connection, schedule, ScheduleState(change.state))
        return _view(connection, schedule, base)


def _refuse_fixed(schedule: ScheduleRecord) -> None:
    """Raise `ServiceError` (409) for a schedule of the configuration, which would be as before at the next start."""
    if schedule.source == "file":
        raise ServiceError(
            SCHEDULE_FIXED,
            f"Schedule {schedule.id} is set by the configuration of the service; change or remove it there. It can be "
            "paused and resumed here.",
        )


@router.delete("/schedules/{schedule_id}", status_code=204)
def delete_own_schedule(schedule: OwnSchedule, service: ServiceDep) -> Response:
    """Delete a schedule and the list of its runs; its forecasts are kept."""
    _refuse_fixed(schedule)
    service.database.write_at_any_cost(lambda connection: delete_schedule(connection, schedule.id, schedule.owner))
    return Response(status_code=204)


@router.get("/schedules/{schedule_id}/runs", response_model=RunList)
@router.head("/schedules/{schedule_id}/runs", include_in_schema=False)
def list_schedule_runs(
    schedule: OwnSchedule,
    service: ServiceDep,
    base: BaseUrl,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(max_length=40, description="Only cycles before this initial time.")] = None,
    state: RunState | None = None,
) -> RunList:
    """Return the runs of a schedule, newest cycle first: what came of each, and of its verification."""
    with located_at("query"):
        cycle = None if before is None else int(parse_time(before, "before").astype("int64"))
    with service.database.read() as connection:
        records, now = list_runs(connection, schedule.id, limit + 1, cycle, state), read_clock(connection)
    home = f"{base}/v1/schedules/{schedule.id}/runs"
    links = [Link(rel="self", href=home)]
    if len(records) > limit:
        more = f"&state={state}" if state else ""
        last = format_cycle(records[limit - 1].init_time)
        links.append(Link(rel="next", href=f"{home}?limit={limit}&before={last}{more}"))
    return RunList(runs=[view_run(record, schedule, base, now) for record in records[:limit]], links=links)


@router.get("/schedules/{schedule_id}/latest", response_model=ForecastView)
@router.head("/schedules/{schedule_id}/latest", include_in_schema=False)
def view_latest_forecast(schedule: OwnSchedule, service: ServiceDep, base: BaseUrl, response: Response) -> ForecastView:
    """Return the newest successful forecast of a schedule with data; `Content-Location` is its own URL."""
    forecast_id = _find_latest(schedule, service)
    with service.database.read() as connection:
        record, now = read_forecast(connection, forecast_id, schedule.owner), read_clock(connection)
    outlook = read_outlooks(service.database, [record], now).get(record.id)
    response.headers["Content-Location"] = f"{base}/v1/forecast/{record.id}"
    return view_forecast(record, base, now, outlook, service.settings.storage.keep_hours)


@files_router.get(
    "/schedules/{schedule_id}/latest/{key:path}",
    status_code=307,
    response_class=RedirectResponse,
    responses={307: {"description": "The same path of the newest successful forecast"}},
)
@files_router.head("/schedules/{schedule_id}/latest/{key:path}", include_in_schema=False)
def redirect_to_latest(
    schedule: OwnSchedule, key: str, service: ServiceDep, base: BaseUrl, request: Request
) -> RedirectResponse:
    """Redirect to the same path of the newest successful forecast, such as its data; each request finds it anew."""
    query = request.url.query
    path = quote(key, safe="/:,()*+=@!$&'~")
    target = f"{base}/v1/forecast/{_find_latest(schedule, service)}/{path}" + (f"?{query}" if query else "")
    return RedirectResponse(target, 307, {"Cache-Control": "no-store"})


def _find_latest(schedule: ScheduleRecord, service: Service) -> str:
    with service.database.read() as connection:
        forecast_id = find_latest(connection, schedule.id)
    if forecast_id is None:
        raise ServiceError(
            NO_LATEST,
            f"Schedule {schedule.id} has no successful forecast yet whose data is available. "
            f"GET /schedules/{schedule.id}/runs says what came of its cycles.",
        )
    return forecast_id
