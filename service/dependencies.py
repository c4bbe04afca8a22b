"""The dependencies of the routes: the service, the authenticated owner, the forecast of the path and its data."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from jobs.batches import BatchRecord, read_batch
from jobs.callers import Caller
from jobs.dispatching.dispatch import Dispatcher
from jobs.errors import ForecastNotFoundError
from jobs.events import Event
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.logs import add_log_subjects
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Data, Status
from jobs.settings import Settings
from service.authentication import KEY_HEADERS, Callers, caller_of, forecasts_of, owner_of
from service.batches import BatchReader
from service.datasets import Datasets
from service.outlooks import Outlooks
from service.problems import DATA_GONE, NOT_FINISHED, NOT_FOUND, UNSUCCESSFUL, ServiceError
from service.queues import Queues
from service.readiness import Readiness
from service.refusals import Refusals
from service.rendered_views import RenderedViews
from service.roles import sees_all_owners
from service.threads import READERS, in_threads
from storage.paths import StoragePath
from weather.errors import StorageFullError


@dataclass(frozen=True)
class Service:
    """The objects that one API process opens at startup and its routes share."""

    settings: Settings
    database: Database
    dispatcher: Dispatcher
    data: StoragePath
    readiness: Readiness
    queues: Queues
    callers: Callers
    refusals: Refusals
    forecasts: BatchReader[str, ForecastRecord]
    outlooks: Outlooks
    views: RenderedViews
    events: BatchReader[tuple[str, int], list[Event]]
    datasets: Datasets


async def _current_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def base_url(request: Request) -> str:
    """Return the URL of the service with which links begin, without a slash at the end."""
    service: Service = request.app.state.service
    if (public_url := service.settings.service.public_url) is not None:
        return public_url.rstrip("/")
    if (host := request.headers.get("host")) and not request.scope.get("root_path"):
        return f"{request.scope['scheme']}://{host}"
    return str(request.base_url).rstrip("/")


async def _base_url(request: Request) -> str:
    return base_url(request)


async def _check_disk(request: Request) -> None:
    """Raise `StorageFullError` if the disk has no space for new work, before the body of a request is received."""
    if not (await _current_service(request)).database.reserve.has_space():
        raise StorageFullError(
            "The disk of the service is full: only as much is free as deletions need. Delete forecasts, or try later."
        )


DISK_SPACE = Depends(_check_disk)
"""The dependency of routes that begin new work."""

ServiceDep = Annotated[Service, Depends(_current_service)]
BaseUrl = Annotated[str, Depends(_base_url)]

_BEARER = HTTPBearer(auto_error=False, description="`Authorization: Bearer KEY`")
_TOKEN = APIKeyHeader(
    name=KEY_HEADERS[1], auto_error=False, description="The same key, in the header that ECMWF clients send"
)


async def authenticate(
    request: Request,
    _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    _token: Annotated[str | None, Security(_TOKEN)],
) -> str:
    """Return the owner of the forecasts of the caller that the middleware `Authentication` has found.

    The other parameters only describe the key in the OpenAPI document.
    """
    return owner_of(request.scope)


Owner = Annotated[str, Depends(authenticate)]


async def _current_caller(request: Request, _owner: Owner) -> Caller:
    return caller_of(request.scope)


CallerDep = Annotated[Caller, Depends(_current_caller)]


async def find_own_forecast(forecast_id: str, service: ServiceDep, _owner: Owner, request: Request) -> ForecastRecord:
    """Return a forecast that the caller may use on this route, which for operators can be another owner's.

    Raises `ForecastNotFoundError` if there is none.
    """
    scope = request.scope
    caller, found = caller_of(scope), forecasts_of(scope)
    record = found[forecast_id] if forecast_id in found else await service.forecasts.read(forecast_id)
    if record is None or not (record.owner == caller.owner or sees_all_owners(caller, scope["method"], scope["path"])):
        raise ForecastNotFoundError(f"There is no forecast {forecast_id!r}.")
    add_log_subjects(forecast_id=record.id)
    return record


OwnForecast = Annotated[ForecastRecord, Depends(find_own_forecast)]
"""The forecast named in the path; one that the caller may not use is a 404."""


@in_threads(READERS)
def find_own_batch(batch_id: str, service: ServiceDep, owner: Owner) -> BatchRecord:
    """Return a batch of the caller; raise `BatchNotFoundError` if there is none, or it is another owner's."""
    with service.database.read() as connection:
        batch = read_batch(connection, batch_id, owner)
    add_log_subjects(batch_id=batch.id)
    return batch


OwnBatch = Annotated[BatchRecord, Depends(find_own_batch)]
"""The batch named in the path; a batch of another owner is a 404."""


def find_data_folder(record: ForecastRecord, service: Service) -> ForecastFolder:
    """Return the folder of a forecast; raise `ServiceError` (410) if its data is deleted or expired."""
    if record.data != Data.AVAILABLE:
        raise ServiceError(DATA_GONE, f"The data of forecast {record.id} is {record.data}; only its record remains.")
    return ForecastFolder(service.data, record.id)


def check_data(forecast_id: str, service: Service) -> None:
    """Raise `ServiceError` (410) if the data of a forecast has been deleted or has expired by now."""
    with service.database.read() as connection:
        find_data_folder(read_forecast(connection, forecast_id), service)


def find_members_folder(record: ForecastRecord, service: Service) -> ForecastFolder:
    """Return the folder of a forecast that stores its members; raise `ServiceError` if it has none."""
    folder = find_data_folder(record, service)
    if not record.request.output.members:
        raise ServiceError(
            NOT_FOUND, f"Forecast {record.id} stores only its summary. Recompute members with POST /forecast/ID/replay."
        )
    return folder


def check_success(record: ForecastRecord, result: str) -> None:
    """Raise `ServiceError` (409) if a forecast is not successful and so has no `result`.

    The problem is retryable only while the forecast is open.
    """
    if record.status != Status.SUCCESSFUL:
        kind = NOT_FINISHED if record.status in OPEN else UNSUCCESSFUL
        raise ServiceError(kind, f"Forecast {record.id} is {record.status}; only a successful forecast has a {result}.")


def check_ensemble(record: ForecastRecord, service: Service) -> None:
    """Raise `ServiceError` if a forecast has no members stored, or no complete lead time."""
    find_members_folder(record, service)
    check_lead_times(record)


def check_lead_times(record: ForecastRecord) -> None:
    """Raise `ServiceError` if a forecast has no complete lead time."""
    if not record.lead_times:
        kind, yet = (NOT_FINISHED, " yet") if record.status in OPEN else (UNSUCCESSFUL, "")
        raise ServiceError(kind, f"Forecast {record.id} is {record.status} and has no complete lead time{yet}.")
