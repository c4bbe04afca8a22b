"""Errors as problem documents (RFC 9457): the one table from what went wrong to what callers are told."""

import logging
import secrets
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.exceptions import HTTPException

from jobs.errors import DeadlineError, ForecastNotFoundError, ForecastOverError, IdempotencyError
from storage.errors import ConfigurationError, DataDirectoryError, WarmcastError
from weather.errors import (
    CheckpointError,
    InitialStateError,
    InputCorruptError,
    InputTooLargeError,
    InputUnsupportedError,
    ParserCrashedError,
    ParserTimeoutError,
    StoreError,
    VerificationError,
)

_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """What went wrong; `type` stays the same, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    trace_id: str
    retryable: bool
    errors: list[dict[str, str]] = Field(default=[], description="Each wrong place of the request, a JSON pointer.")


@dataclass(frozen=True)
class Kind:
    """A kind of problem."""

    slug: str
    status: int
    title: str
    retry_after: int | None = None


class ServiceError(WarmcastError):
    """A problem that only the service knows."""

    def __init__(self, kind: Kind, detail: str) -> None:
        self.kind = kind
        super().__init__(detail)


VALIDATION = Kind("validation", 422, "The request is wrong")
NOT_FOUND = Kind("not-found", 404, "There is nothing here")
NOT_FINISHED = Kind("not-finished", 409, "The forecast has not ended", 10)
NOT_ALLOWED = Kind("method-not-allowed", 405, "The method is not allowed here")
TOO_LARGE = Kind("too-large", 413, "The request is too large")
UNSUPPORTED = Kind("unsupported-media-type", 415, "The kind of content is not supported")
QUEUE_FULL = Kind("queue-full", 429, "Too many forecasts wait", 30)
UNAUTHORIZED = Kind("unauthorized", 401, "The caller is not known")
DATA_GONE = Kind("data-gone", 410, "The data of the forecast is gone")
FOREIGN_ORIGIN = Kind("foreign-origin", 403, "A page of another origin may not do this")
FOREIGN_HOST = Kind("foreign-host", 421, "The request was meant for another host")
UNAVAILABLE = Kind("unavailable", 503, "The service is not ready", 5)
INTERNAL = Kind("internal", 500, "Something went wrong here")

OF_ERRORS: dict[type[WarmcastError], Kind] = {
    DeadlineError: Kind("deadline-too-soon", 422, "The deadline cannot be met"),
    ForecastNotFoundError: Kind("no-such-forecast", 404, "There is no such forecast"),
    ForecastOverError: Kind("forecast-over", 409, "The forecast has ended"),
    IdempotencyError: Kind("idempotency-key-reuse", 422, "The idempotency key was used for another request"),
    InputCorruptError: Kind("input-corrupt", 422, "A file is damaged, or its structure is not allowed"),
    InputTooLargeError: Kind("input-too-large", 413, "A file needs more memory than is allowed"),
    InputUnsupportedError: Kind("input-unsupported", 415, "A file is of a kind that is not taken"),
    ParserCrashedError: Kind("parser-crashed", 422, "The program that read a file came to a bad end"),
    ParserTimeoutError: Kind("parser-timeout", 422, "Reading a file took too long"),
    InitialStateError: Kind("state-incompatible", 422, "The initial state cannot start a forecast"),
    VerificationError: Kind("truth-incompatible", 422, "The forecast cannot be verified against this"),
    CheckpointError: Kind("no-such-model", 404, "There is no such model"),
    ConfigurationError: VALIDATION,
    DataDirectoryError: UNAVAILABLE,
    StoreError: Kind("insufficient-storage", 507, "The ensemble cannot be stored", 60),
}
_OF_STATUS = {404: NOT_FOUND, 405: NOT_ALLOWED, 413: TOO_LARGE, 415: UNSUPPORTED}

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
"""For OpenAPI: what every route may answer."""


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""
    app.add_exception_handler(WarmcastError, _domain)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OperationalError, _database)
    app.add_exception_handler(InterfaceError, _database)
    app.add_exception_handler(ConnectionError, _storage)
    app.add_exception_handler(Exception, _unexpected)


def answer(kind: Kind, detail: str, errors: list[dict[str, str]] | None = None) -> JSONResponse:
    """Return the response of a problem."""
    problem = Problem(
        type=f"/problems/{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        trace_id=secrets.token_hex(8),
        retryable=kind.retry_after is not None,
        errors=errors or [],
    )
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": str(kind.retry_after)} if kind.retry_after else {})
    if kind.status == UNAUTHORIZED.status:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(problem.model_dump(), kind.status, headers, "application/problem+json")


async def _domain(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, ServiceError):
        return answer(error.kind, str(error))
    kind = next((OF_ERRORS[base] for base in type(error).__mro__ if base in OF_ERRORS), INTERNAL)
    return answer(kind, str(error))


async def _validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"pointer": "/" + "/".join(str(part) for part in entry["loc"][1:]), "detail": _told(entry)}
        for entry in error.errors()
    ]
    places = "; ".join(f"`{entry['pointer']}`: {entry['detail']}" for entry in errors)
    return answer(VALIDATION, f"The request is wrong at {places}", errors)


def _told(entry: dict[str, Any]) -> str:
    got = repr(entry.get("input"))
    return f"{entry['msg']}. Got: {got if len(got) < 200 else got[:200] + '…'}."


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = _OF_STATUS.get(error.status_code, Kind("http", error.status_code, "The request was refused"))
    return answer(kind, str(error.detail))


async def _database(_request: Request, error: Exception) -> JSONResponse:
    _log.error("The database was not reached: %s", error)
    return answer(UNAVAILABLE, "The database is not reached at the moment. Try again.")


async def _storage(_request: Request, error: Exception) -> JSONResponse:
    _log.error("The storage was not reached: %s", error)
    return answer(UNAVAILABLE, "The storage of forecasts is not reached at the moment. Try again.")


async def _unexpected(_request: Request, error: Exception) -> JSONResponse:
    response = answer(INTERNAL, "This is a fault of the service, not of the request.")
    _log.error("An unexpected error", exc_info=error)
    return response
