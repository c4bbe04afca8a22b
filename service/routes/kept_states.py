"""Routes to keep initial states for several forecasts, and to list, view, read and delete them."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from jobs.kept_states import KeptState, list_kept_states, read_state
from jobs.state_folders import delete_state
from service.child_processes import while_connected
from service.dependencies import DISK_SPACE, BaseUrl, Owner, Service, ServiceDep
from service.kept_states import StateList, StateView, check_state_request, keep, read_state_to_keep, view_state
from service.limits import hold_upload_place
from service.openapi import state_body
from service.problems import PROBLEM_RESPONSES
from service.routes.forecasts import Key
from service.state_requests import parse_state_request
from service.threads import REMOVERS, in_threads
from service.uploads import MAX_STATE_FILES
from service.views import Link

router = APIRouter(tags=["states"], responses=PROBLEM_RESPONSES)


@router.post(
    "/states",
    status_code=201,
    dependencies=[DISK_SPACE],
    response_model=StateView,
    responses={200: {"model": StateView, "description": "Already made earlier"}},
    openapi_extra={"requestBody": state_body(MAX_STATE_FILES)},
)
async def keep_initial_state(
    request: Request, service: ServiceDep, owner: Owner, base: BaseUrl, idempotency_key: Key = None
) -> Response:
    """Keep an initial state, from which forecasts can start by its id until it is deleted.

    The body is multipart with the files of the state, or JSON for a state of the catalogue, the initial state of a
    forecast, or a complete lead time of one of its members.
    """
    async with parse_state_request(request, partial(hold_upload_place, service, owner)) as parsed:
        manifest, name = await to_thread.run_sync(check_state_request, parsed, service, owner)
        state = await while_connected(request, read_state_to_keep(parsed, manifest, service, owner))
        record, is_new = await keep(service, owner, state, manifest, name, idempotency_key)
    view = _view(record, service, base)
    headers = {"Location": f"{base}/v1/states/{record.id}"} | ({} if is_new else {"Idempotent-Replayed": "true"})
    return JSONResponse(view.model_dump(mode="json"), 201 if is_new else 200, headers)


@router.get("/states", response_model=StateList)
@router.head("/states", include_in_schema=False)
def list_own_states(
    service: ServiceDep,
    owner: Owner,
    base: BaseUrl,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[
        str | None, Query(max_length=40, description="Return only states older than the one of this id.")
    ] = None,
) -> StateList:
    """Return the initial states that the caller keeps, newest first."""
    with service.database.read() as connection:
        records = list_kept_states(connection, owner, limit + 1, before)
    records, more = records[:limit], records[limit:]
    links = [Link(rel="self", href=f"{base}/v1/states")]
    if more:
        links.append(Link(rel="next", href=f"{base}/v1/states?limit={limit}&before={records[-1].id}"))
    return StateList(states=[_view(record, service, base) for record in records], links=links)


@router.get("/states/{state_id}")
@router.head("/states/{state_id}", include_in_schema=False)
def view_own_state(state_id: str, service: ServiceDep, owner: Owner, base: BaseUrl) -> StateView:
    """Return an initial state that the caller keeps: what it is, and where from."""
    with service.database.read() as connection:
        return _view(read_state(connection, state_id, owner), service, base)


@router.delete("/states/{state_id}", status_code=204)
@in_threads(REMOVERS)
def delete_own_state(state_id: str, service: ServiceDep, owner: Owner) -> Response:
    """Delete an initial state; forecasts that were submitted from it have their own copies."""
    delete_state(service.database, service.data, state_id, owner)
    return Response(status_code=204)


def _view(record: KeptState, service: Service, base: str) -> StateView:
    return view_state(record, base, service.settings.storage.keep_hours)
