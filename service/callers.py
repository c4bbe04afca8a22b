"""Who asks: the holder of an API key, or, as long as no key was ever made, anybody on this machine."""

from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from jobs.forecasts import ForecastRecord, look_up
from jobs.keys import has_keys, holder_of
from service.context import Service, ServiceHere
from service.problems import UNAUTHORIZED, ServiceError

LOCAL_OWNER = "local"
"""Who owns what callers without a key ask for."""

_BEARER = HTTPBearer(auto_error=False, description="`Authorization: Bearer KEY`")
_TOKEN = APIKeyHeader(name="PRIVATE-TOKEN", auto_error=False, description="The same key, as ECMWF's clients send it")


def owner_of(
    service: ServiceHere,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    token: Annotated[str | None, Security(_TOKEN)],
) -> str:
    """Return whose forecasts the caller sees; raises `ServiceError` for one who may not be here."""
    secret = bearer.credentials if bearer is not None else token
    if secret is not None:
        holder = holder_of(service.database, secret)
        if holder is None:
            raise ServiceError(UNAUTHORIZED, "The API key is not known, or was revoked.")
        return holder
    return _keyless(service)


def _keyless(service: Service) -> str:
    if has_keys(service.database):
        raise ServiceError(UNAUTHORIZED, "An API key is needed: `Authorization: Bearer KEY`.")
    if not service.only_loopback:
        raise ServiceError(
            UNAUTHORIZED, "An API key is needed, and none exists yet: `warmcast key create NAME` makes one."
        )
    return LOCAL_OWNER


Owner = Annotated[str, Depends(owner_of)]


def _own_forecast(forecast_id: str, service: ServiceHere, owner: Owner) -> ForecastRecord:
    return look_up(service.database, forecast_id, owner)


OwnForecast = Annotated[ForecastRecord, Depends(_own_forecast)]
"""The forecast of the path, if it is the caller's: another's is not there (404)."""
