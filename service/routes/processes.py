"""Routes of OGC API – Processes under `/api`, as ECMWF's data stores have them, for clients that exist.

Query parameters that these clients send and that mean nothing here are ignored.
"""

import json
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from jobs.callers import Caller
from jobs.events import list_events
from jobs.forecasts import ForecastRecord, cancel_forecast, list_forecasts, read_forecast
from jobs.logs import add_log_subjects
from jobs.retention import delete_data
from jobs.rows.states import OPEN, Status
from service.bodies import read_json_body, validate_body
from service.caching import json_response
from service.checkpoints import read_named_manifest, read_valid_manifests
from service.child_processes import while_connected
from service.dependencies import (
    DISK_SPACE,
    BaseUrl,
    CallerDep,
    Owner,
    OwnForecast,
    Service,
    ServiceDep,
    authenticate,
    check_success,
)
from service.exports import ExportQuery
from service.faults import nested_in
from service.forecast_log import LogLine, log_lines
from service.initial_states import read_initial_state
from service.openapi import model_body
from service.problems import PROBLEM_RESPONSES, VALIDATION, ServiceError
from service.processes import (
    RETRIEVE,
    Asset,
    AssetValue,
    Job,
    JobList,
    ProcessDescription,
    ProcessList,
    Results,
    VerifiedKey,
    describe_process,
    view_job,
)
from service.requests import DeletionBody, ExecutionBody, ForecastBody
from service.roles import VERIFIED_KEY_PATH
from service.routes.exports import MEDIA_TYPES, plan_of, respond_with_export
from service.signatures import sign
from service.submission import accept, check_body
from service.threads import READERS, REMOVERS, WRITERS, in_threads
from service.uploads import ParsedRequest
from service.views import Link, format_time
from weather.exports.part import Part
from weather.stores.layout import ENSEMBLE, SUMMARY

router = APIRouter(tags=["processes"], responses=PROBLEM_RESPONSES, dependencies=[Depends(authenticate)])

_FILE = f"{RETRIEVE}/jobs/{{forecast_id}}/results/{{name}}.nc"


@router.get("/api/catalogue/v1/messages")
@router.head("/api/catalogue/v1/messages", include_in_schema=False)
def list_messages() -> dict[str, list[str]]:
    """Return the messages of the operator to all users: there are none."""
    return {"messages": []}


@router.post(VERIFIED_KEY_PATH)
async def verify_key(caller: CallerDep, request: Request) -> VerifiedKey:
    """Return whose API key the request has, which has no body; 401 without a valid one. Readers may use it too."""
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise ServiceError(VALIDATION, "The request must have no body.", ("body",))
    expires = None if caller.expires is None else format_time(caller.expires)
    return VerifiedKey(id=caller.key_id, role=caller.role, owner=caller.owner, expires=expires)


@router.get(f"{RETRIEVE}/processes")
@router.head(f"{RETRIEVE}/processes", include_in_schema=False)
def list_processes(service: ServiceDep, base: BaseUrl) -> ProcessList:
    """Return all processes, one for each checkpoint."""
    manifests = read_valid_manifests(service.settings.storage.checkpoint_folders)
    processes = [describe_process(name, manifest, base) for name, manifest in manifests]
    return ProcessList(processes=[*processes], links=[Link(rel="self", href=f"{base}{RETRIEVE}/processes")])


@router.get(f"{RETRIEVE}/processes/{{model}}")
@router.head(f"{RETRIEVE}/processes/{{model}}", include_in_schema=False)
def view_process(model: str, service: ServiceDep, base: BaseUrl) -> ProcessDescription:
    """Return a process with its inputs, which are the fields of `POST /forecast` but `model`."""
    return describe_process(model, read_named_manifest(model, service.settings.storage.checkpoint_folders), base)


@router.post(
    f"{RETRIEVE}/processes/{{model}}/execution",
    status_code=201,
    dependencies=[DISK_SPACE],
    response_model=Job,
    openapi_extra={"requestBody": model_body("ExecutionBody")},
)
async def execute(model: str, request: Request, service: ServiceDep, owner: Owner, base: BaseUrl) -> Response:
    """Accept a forecast, from a state of the catalogue or of an earlier forecast, as a job."""
    inputs = validate_body(ExecutionBody, await read_json_body(request)).inputs
    with nested_in("inputs"):
        if "model" in inputs:
            message = "`model` must be left out of the inputs: the process is the model."
            raise ServiceError(VALIDATION, message, ("body", "model"))
        body = validate_body(ForecastBody, json.dumps({**inputs, "model": model}).encode())
        checked = await to_thread.run_sync(check_body, service, owner, body)
        state = await while_connected(
            request, read_initial_state(ParsedRequest(body), checked.manifest, service, owner)
        )
        record, _ = await to_thread.run_sync(accept, service, owner, checked, state, None, limiter=WRITERS)
    add_log_subjects(forecast_id=record.id)
    job = view_job(record, base)
    return JSONResponse(job.model_dump(mode="json", by_alias=True), 201, {"Location": job.links[0].href})


@router.get(f"{RETRIEVE}/jobs")
@router.head(f"{RETRIEVE}/jobs", include_in_schema=False)
@in_threads(READERS)
def list_jobs(
    service: ServiceDep,
    owner: Owner,
    base: BaseUrl,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    status: Annotated[list[str] | None, Query(max_length=10, description="Statuses; all by default.")] = None,
    before: Annotated[str | None, Query(max_length=40, description="Only jobs older than the one of this id.")] = None,
) -> JobList:
    """Return the caller's forecasts as jobs, newest first."""
    wanted = None if status is None else [each for each in Status if each in status]
    with service.database.read() as connection:
        records = list_forecasts(connection, owner, wanted, limit + 1, before)
    jobs = [view_job(record, base) for record in records[:limit]]
    links = [Link(rel="self", href=f"{base}{RETRIEVE}/jobs")]
    if len(records) > limit:
        query = [("limit", str(limit)), ("before", jobs[-1].job_id), *(("status", each) for each in status or ())]
        links.append(Link(rel="next", href=f"{base}{RETRIEVE}/jobs?{urlencode(query)}"))
    return JobList(jobs=jobs, links=links, metadata={"count": len(jobs)})


@router.get(f"{RETRIEVE}/jobs/{{forecast_id}}")
@router.head(f"{RETRIEVE}/jobs/{{forecast_id}}", include_in_schema=False)
@in_threads(READERS)
def view_own_job(
    record: OwnForecast,
    service: ServiceDep,
    base: BaseUrl,
    log: Annotated[bool, Query(description="Whether `metadata` has the log.")] = False,
    log_start_time: Annotated[
        str, Query(alias="logStartTime", max_length=40, description="Only lines of the log after this time.")
    ] = "",
) -> Job:
    """Return a forecast as a job, with its log on demand."""
    lines: list[LogLine] = []
    if log:
        with service.database.read() as connection:
            lines = [*log_lines(record, list_events(connection, record.id))]
    return view_job(record, base, [line for line in lines if line.time > log_start_time])


@router.delete(f"{RETRIEVE}/jobs/{{forecast_id}}")
@in_threads(REMOVERS)
def delete_job(record: OwnForecast, service: ServiceDep, base: BaseUrl) -> Job:
    """Cancel a forecast that has not ended, or delete the data of one that has; its record is kept."""
    return view_job(_delete(record, service), base)


@router.post(f"{RETRIEVE}/jobs/delete", openapi_extra={"requestBody": model_body("DeletionBody")})
async def delete_jobs(request: Request, service: ServiceDep, owner: Owner, base: BaseUrl) -> JobList:
    """Do for several forecasts what `DELETE` does for one; for none of them if one does not exist."""
    body = validate_body(DeletionBody, await read_json_body(request))
    jobs = await to_thread.run_sync(_delete_several, service, owner, body.job_ids, base, limiter=REMOVERS)
    return JobList(jobs=jobs, links=[], metadata={"count": len(jobs)})


def _delete_several(service: Service, owner: str, forecast_ids: Sequence[str], base: str) -> list[Job]:
    with service.database.read() as connection:
        records = [read_forecast(connection, forecast_id, owner) for forecast_id in dict.fromkeys(forecast_ids)]
    return [view_job(_delete(record, service), base) for record in records]


def _delete(record: ForecastRecord, service: Service) -> ForecastRecord:
    if record.status in OPEN:
        return service.database.write_at_any_cost(
            lambda connection: cancel_forecast(connection, record.id, record.owner)
        )
    delete_data(service.database, service.data, record.id, record.owner)
    with service.database.read() as connection:
        return read_forecast(connection, record.id, record.owner)


@router.get(f"{RETRIEVE}/jobs/{{forecast_id}}/receipt")
@router.head(f"{RETRIEVE}/jobs/{{forecast_id}}/receipt", include_in_schema=False)
async def read_job_receipt(record: OwnForecast, request: Request) -> Response:
    """Return the receipt of a successful forecast."""
    check_success(record, "receipt")
    return json_response(request, bytes(JSONResponse(record.receipt).body))


@router.get(f"{RETRIEVE}/jobs/{{forecast_id}}/results")
@router.head(f"{RETRIEVE}/jobs/{{forecast_id}}/results", include_in_schema=False)
async def view_results(
    record: OwnForecast, service: ServiceDep, request: Request, caller: CallerDep, base: BaseUrl
) -> Results:
    """Return the address and the size of a successful forecast as NetCDF; 409 before, or if it has failed."""
    check_success(record, "result")
    query = _query(record)
    plan = await plan_of(record, service, request, query)
    path = f"{RETRIEVE}/jobs/{record.id}/results/{record.id}.nc"
    signature = await to_thread.run_sync(_sign, service, caller, path)
    value = AssetValue(type=MEDIA_TYPES[query.form], href=f"{base}{path}{signature}", size=plan.size_bytes)
    return Results(asset=Asset(value=value))


def _sign(service: Service, caller: Caller, path: str) -> str:
    with service.database.read() as connection:
        return sign(connection, caller, path)


@router.get(_FILE, response_class=Response, responses={200: {"content": {MEDIA_TYPES["nc"]: {}}}})
@router.head(_FILE, include_in_schema=False)
async def download_result(
    record: OwnForecast,
    service: ServiceDep,
    request: Request,
    _name: Annotated[str, Path(alias="name", description="Name of the file, without the ending; any.")],
) -> Response:
    """Return a forecast as NetCDF: the members, or the summary if it has none; a signature stands for the key."""
    check_success(record, "result")
    return await respond_with_export(record, service, request, _query(record))


def _query(record: ForecastRecord) -> ExportQuery:
    return ExportQuery(ENSEMBLE if record.request.output.members else SUMMARY, Part(), "nc")
