"""Authenticate requests: by API key, or by loopback address while no key exists."""

from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from jobs.forecasts import ForecastRecord, read_forecast
from jobs.keys import find_key_id, has_keys
from service.context import Service, ServiceDep
from service.problems import UNAUTHORIZED, ServiceError

LOCAL_OWNER = "local"
"""Owner of the forecasts that are submitted without a key."""

_BEARER = HTTPBearer(auto_error=False, description="`Authorization: Bearer KEY`")
_TOKEN = APIKeyHeader(
    name="PRIVATE-TOKEN", auto_error=False, description="The same key, in the header that ECMWF clients send"
)


def authenticate(
    service: ServiceDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    token: Annotated[str | None, Security(_TOKEN)],
) -> str:
    """Return the owner whose forecasts the caller may see; raise `ServiceError` (401) for an unauthorized caller."""
    secret = bearer.credentials if bearer is not None else token
    if secret is not None:
        holder = find_key_id(service.database, secret)
        if holder is None:
            raise ServiceError(UNAUTHORIZED, "The API key is unknown or revoked.")
        return holder
    return _authenticate_without_key(service)


def _authenticate_without_key(service: Service) -> str:
    if has_keys(service.database):
        raise ServiceError(UNAUTHORIZED, "An API key is required: `Authorization: Bearer KEY`.")
    if not service.only_loopback:
        raise ServiceError(
            UNAUTHORIZED, "An API key is required, and none exists yet: create one with `warmcast key create NAME`."
        )
    return LOCAL_OWNER


Owner = Annotated[str, Depends(authenticate)]


def _find_own_forecast(forecast_id: str, service: ServiceDep, owner: Owner) -> ForecastRecord:
    return read_forecast(service.database, forecast_id, owner)


OwnForecast = Annotated[ForecastRecord, Depends(_find_own_forecast)]
"""The forecast named in the path; a forecast of another owner is a 404."""
