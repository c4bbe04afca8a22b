"""The dependencies of the routes: the service, the authenticated owner, the forecast of the path and its data."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Scope

from jobs.dispatching.dispatch import Dispatcher
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.keys import find_key_id, has_keys
from jobs.logs import add_log_subjects
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Data, Status
from jobs.settings import Settings
from service.problems import DATA_GONE, NOT_FINISHED, NOT_FOUND, UNAUTHORIZED, UNSUCCESSFUL, ServiceError
from service.readiness import Readiness
from storage.paths import StoragePath
from weather.errors import StoreError
from weather.stores.ensemble import EnsembleStore

LOCAL_OWNER = "local"
"""Owner of the forecasts that are submitted without a key."""


@dataclass(frozen=True)
class Service:
    """The objects that one API process opens at startup and its routes share."""

    settings: Settings
    database: Database
    dispatcher: Dispatcher
    data: StoragePath
    readiness: Readiness
    only_loopback: bool


async def _current_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _base_url(request: Request) -> str:
    return ((await _current_service(request)).settings.service.public_url or str(request.base_url)).rstrip("/")


ServiceDep = Annotated[Service, Depends(_current_service)]
BaseUrl = Annotated[str, Depends(_base_url)]

KEY_HEADERS = ("Authorization", "PRIVATE-TOKEN")
"""The request headers that may contain an API key."""

_KEY_CHECKED = "key_checked"
_BEARER = HTTPBearer(auto_error=False, description="`Authorization: Bearer KEY`")
_TOKEN = APIKeyHeader(
    name=KEY_HEADERS[1], auto_error=False, description="The same key, in the header that ECMWF clients send"
)


def may_depend_on_key(scope: Scope) -> bool:
    """Return whether the API key of a request has been checked: its response may then differ by key."""
    return bool(scope.get("state", {}).get(_KEY_CHECKED))


def authenticate(
    request: Request,
    service: ServiceDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    token: Annotated[str | None, Security(_TOKEN)],
) -> str:
    """Return the owner whose forecasts the caller may see; raise `ServiceError` (401) for an unauthorized caller."""
    setattr(request.state, _KEY_CHECKED, True)
    secret = bearer.credentials if bearer is not None else token
    if secret is not None:
        with service.database.read() as connection:
            holder = find_key_id(connection, secret)
        if holder is None:
            raise ServiceError(UNAUTHORIZED, "The API key is unknown or revoked.")
        add_log_subjects(key_id=holder)
        return holder
    return _authenticate_without_key(service)


def _authenticate_without_key(service: Service) -> str:
    with service.database.read() as connection:
        key_exists = has_keys(connection)
    if key_exists:
        raise ServiceError(UNAUTHORIZED, "An API key is required: `Authorization: Bearer KEY`.")
    if not service.only_loopback:
        raise ServiceError(
            UNAUTHORIZED, "An API key is required, and none exists yet: create one with `warmcast key create NAME`."
        )
    return LOCAL_OWNER


Owner = Annotated[str, Depends(authenticate)]


def _find_own_forecast(forecast_id: str, service: ServiceDep, owner: Owner) -> ForecastRecord:
    with service.database.read() as connection:
        record = read_forecast(connection, forecast_id, owner)
    add_log_subjects(forecast_id=record.id)
    return record


OwnForecast = Annotated[ForecastRecord, Depends(_find_own_forecast)]
"""The forecast named in the path; a forecast of another owner is a 404."""


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


def open_ensemble(record: ForecastRecord, service: Service) -> EnsembleStore:
    """Open the ensemble of a forecast; raise `ServiceError` if it has no members stored or no complete lead time."""
    folder = find_members_folder(record, service)
    if not record.lead_times:
        kind, yet = (NOT_FINISHED, " yet") if record.status in OPEN else (UNSUCCESSFUL, "")
        raise ServiceError(kind, f"Forecast {record.id} is {record.status} and has no complete lead time{yet}.")
    try:
        return EnsembleStore.open(folder.store)
    except StoreError:
        check_data(record.id, service)
        raise
