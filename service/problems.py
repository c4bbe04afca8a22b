"""Map errors to problem documents (RFC 9457)."""

import logging
import math
import secrets
import time
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from jobs.errors import (
    BatchNotFoundError,
    BatchOverError,
    DeadlineError,
    ForecastNotFoundError,
    ForecastOverError,
    IdempotencyError,
    LimitExceededError,
    LimitReachedError,
    LimitState,
    QueueFullError,
    ScheduleNotFoundError,
    StateNotFoundError,
)
from jobs.logs import current_request_id
from service.limit_views import LimitView
from service.rate_limits import rate_limit_headers
from storage.errors import ConfigurationError, DataDirectoryError, Location, WarmcastError, is_disk_full
from weather.errors import (
    CheckpointError,
    DamagedError,
    InitialStateError,
    InputCorruptError,
    InputTooLargeError,
    InputUnsupportedError,
    ParserCrashedError,
    ParserTimeoutError,
    StorageFullError,
    StoreError,
    UpstreamError,
    UpstreamRefusedError,
    VerificationError,
)
from weather.schema import error_detail

_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """An error (RFC 9457): `type` is stable and meant for programs, `detail` is meant for people."""

    type: str
    title: str
    status: int
    detail: str
    trace_id: str
    retryable: bool
    errors: list[dict[str, str]] = Field(
        default=[],
        description="Wrong fields of the request, at most 20, with `detail` and `pointer`: a JSON pointer (RFC 6901) "
        "into the body, `?NAME` for a query parameter, or the name of a header.",
    )
    limit: LimitView | None = Field(None, description="The limit of the API key that does not allow the request.")


@dataclass(frozen=True)
class ProblemKind:
    """A kind of problem: its type, HTTP status, title, and the seconds after which a retry can help, if any."""

    slug: str
    status: int
    title: str
    retry_after: int | None = None


class ServiceError(WarmcastError):
    """An error that is specific to HTTP requests and has no domain error."""

    def __init__(self, kind: ProblemKind, detail: str, location: Location = ()) -> None:
        self.kind = kind
        super().__init__(detail, location)
        self.errors: tuple[WarmcastError, ...] = (self,)
        """The error itself, or the errors that it combines."""


VALIDATION = ProblemKind("validation", 422, "The request is invalid")
NOT_FOUND = ProblemKind("not-found", 404, "The resource does not exist")
NOT_FINISHED = ProblemKind("not-finished", 409, "The forecast has not ended", 10)
UNSUCCESSFUL = ProblemKind("unsuccessful", 409, "The forecast has ended without this result")
NOT_ALLOWED = ProblemKind("method-not-allowed", 405, "The method is not allowed")
TOO_LARGE = ProblemKind("too-large", 413, "The request is too large")
BODY_TIMEOUT = ProblemKind("body-timeout", 408, "The request arrives too slowly", 1)
MALFORMED = ProblemKind("malformed", 400, "The request is malformed")
UNSUPPORTED = ProblemKind("unsupported-media-type", 415, "The content type is not supported")
QUEUE_FULL = ProblemKind("queue-full", 429, "Too many forecasts are waiting", 30)
TOO_BUSY = ProblemKind("too-busy", 429, "The service is busy", 5)
TOO_SLOW = ProblemKind("too-slow", 503, "The request takes too long")
CLIENT_LEFT = ProblemKind("client-left", 499, "The client has closed the connection")
TOO_MANY_KEYS = ProblemKind("too-many-keys", 429, "Too many wrong API keys were sent", 60)
UNAUTHORIZED = ProblemKind("unauthorized", 401, "The caller is not authenticated")
FORBIDDEN = ProblemKind("forbidden", 403, "The role of the API key does not allow this")
NO_LATEST = ProblemKind("no-latest", 404, "The schedule has no successful forecast")
SCHEDULE_FIXED = ProblemKind("schedule-fixed", 409, "The schedule is set by the configuration")
DAMAGED = ProblemKind("damaged", 409, "Data of the forecast is damaged")
DATA_GONE = ProblemKind("data-gone", 410, "The data of the forecast is gone")
FOREIGN_ORIGIN = ProblemKind("foreign-origin", 403, "Pages of other origins may not change anything")
FOREIGN_HOST = ProblemKind("foreign-host", 421, "The request is addressed to another host")
INSUFFICIENT_STORAGE = ProblemKind("insufficient-storage", 507, "The storage is full", 60)
UNAVAILABLE = ProblemKind("unavailable", 503, "The service is not ready", 5)
INTERNAL = ProblemKind("internal", 500, "The service failed")

KIND_OF_ERROR: dict[type[WarmcastError], ProblemKind] = {
    BatchNotFoundError: ProblemKind("no-such-batch", 404, "There is no such batch"),
    BatchOverError: ProblemKind("batch-over", 409, "All forecasts of the batch have ended"),
    DeadlineError: ProblemKind("deadline-too-soon", 422, "The deadline cannot be met"),
    ForecastNotFoundError: ProblemKind("no-such-forecast", 404, "There is no such forecast"),
    ForecastOverError: ProblemKind("forecast-over", 409, "The forecast has ended"),
    IdempotencyError: ProblemKind("idempotency-key-reuse", 422, "The idempotency key was used for another request"),
    InputCorruptError: ProblemKind("input-corrupt", 422, "A file is damaged"),
    InputTooLargeError: ProblemKind("input-too-large", 413, "A file is larger than is allowed, unpacked or in memory"),
    InputUnsupportedError: ProblemKind("input-unsupported", 415, "The file format is not supported"),
    ParserCrashedError: ProblemKind("parser-crashed", 422, "The parser of a file crashed"),
    ParserTimeoutError: ProblemKind("parser-timeout", 422, "Reading a file took too long"),
    InitialStateError: ProblemKind("state-incompatible", 422, "The initial state cannot start a forecast"),
    LimitExceededError: ProblemKind("limit-exceeded", 403, "A limit of the API key does not allow this"),
    LimitReachedError: ProblemKind("limit-reached", 429, "A limit of the API key is reached", 30),
    QueueFullError: QUEUE_FULL,
    ScheduleNotFoundError: ProblemKind("no-such-schedule", 404, "There is no such schedule"),
    StateNotFoundError: ProblemKind("no-such-state", 404, "There is no such initial state"),
    UpstreamRefusedError: ProblemKind("source-unusable", 502, "A data set of the catalogue sends what is refused"),
    UpstreamError: ProblemKind("source-unavailable", 503, "A data set of the catalogue is not available", 60),
    VerificationError: ProblemKind("truth-incompatible", 422, "The forecast cannot be verified against these files"),
    CheckpointError: ProblemKind("no-such-model", 404, "There is no such model"),
    ConfigurationError: VALIDATION,
    DamagedError: DAMAGED,
    DataDirectoryError: UNAVAILABLE,
    StorageFullError: INSUFFICIENT_STORAGE,
    StoreError: ProblemKind("store-unusable", 409, "The stored ensemble cannot be used"),
}
_OF_SERVICE = (value for value in (*globals().values(),) if isinstance(value, ProblemKind))
KINDS: dict[str, ProblemKind] = {kind.slug: kind for kind in (*_OF_SERVICE, *KIND_OF_ERROR.values())}
"""All kinds of problems, by the last part of their types."""
_MAX_ERRORS, _MAX_ENTRY_LENGTH, _MAX_DETAIL_LENGTH = 20, 1000, 10_000
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_KIND_OF_STATUS = {404: NOT_FOUND, 405: NOT_ALLOWED, 413: TOO_LARGE, 415: UNSUPPORTED}

PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
"""The problem response of every route in the OpenAPI document."""


def add_handlers(app: FastAPI) -> None:
    """Register handlers that answer every error with a problem document."""
    app.add_exception_handler(WarmcastError, _handle_domain_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    app.add_exception_handler(OperationalError, _handle_database_error)
    app.add_exception_handler(InterfaceError, _handle_database_error)
    app.add_exception_handler(ConnectionError, _handle_storage_error)
    app.add_exception_handler(OSError, _handle_system_error)
    app.add_exception_handler(Exception, _handle_unexpected_error)


def problem_response(
    kind: ProblemKind, detail: str, errors: list[dict[str, str]] | None = None, limit: LimitState | None = None
) -> JSONResponse:
    """Return the HTTP response for an error of `kind`: a problem document with `detail`, and its status and headers.

    `errors` holds `pointer`, the place in the request, and `detail` of each faulty field; the first 20 are returned.
    """
    problem = Problem(
        type=f"/problems/{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=_shorten(detail, _MAX_DETAIL_LENGTH),
        trace_id=current_request_id() or secrets.token_hex(8),
        retryable=kind.retry_after is not None,
        errors=[
            {name: _shorten(text, _MAX_ENTRY_LENGTH) for name, text in entry.items()}
            for entry in (errors or [])[:_MAX_ERRORS]
        ],
        limit=None if limit is None else LimitView.of(limit),
    )
    retry_after = kind.retry_after
    if retry_after and limit is not None and limit.frees is not None:
        retry_after = max(math.ceil(limit.frees - time.time()), 1)
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": str(retry_after)} if retry_after else {})
    if limit is not None:
        headers |= rate_limit_headers([limit])
    if kind.status == UNAUTHORIZED.status:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        problem.model_dump(exclude={"limit"} if limit is None else None),
        kind.status,
        headers,
        "application/problem+json",
    )


def _shorten(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else f"{text[:max_length]}…"


async def _handle_domain_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WarmcastError)
    errors = error.errors if isinstance(error, ServiceError) else (error,)
    located = [
        {"pointer": pointer_to(part.location), "detail": str(part)} for part in errors if _is_part(part.location)
    ]
    limit = error.state if isinstance(error, LimitExceededError) else None
    return problem_response(kind_of_error(error), str(error), located, limit)


def kind_of_error(error: WarmcastError) -> ProblemKind:
    """Return the kind of the problem document for an error."""
    if isinstance(error, ServiceError):
        return error.kind
    return next((KIND_OF_ERROR[base] for base in type(error).__mro__ if base in KIND_OF_ERROR), INTERNAL)


async def _handle_validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    details: dict[str, list[str]] = {}
    for entry in error.errors():
        if _is_consequence(entry, error):
            continue
        pointer = pointer_to(_location_in(error.body, entry["loc"], is_missing=entry["type"] == "missing"))
        details.setdefault(pointer, []).append(error_detail(entry))
    errors = [{"pointer": pointer, "detail": " Or: ".join(parts)} for pointer, parts in details.items()]
    entries = "; ".join(f"`{entry['pointer'] or '/'}`: {entry['detail']}" for entry in errors[:_MAX_ERRORS])
    hidden = len(errors) - _MAX_ERRORS
    more = f" And {hidden} more fields." if hidden > 0 else ""
    return problem_response(VALIDATION, f"The request is invalid at {entries}{more}", errors)


def _is_consequence(entry: dict[str, Any], error: RequestValidationError) -> bool:
    """Return whether a list is too short only because some of its items are wrong, which have errors of their own."""
    location, size = entry["loc"], len(entry["loc"])
    return entry["type"] == "too_short" and any(
        len(other["loc"]) > size and other["loc"][:size] == location for other in error.errors()
    )


def pointer_to(location: Location) -> str:
    """Return a problem's `pointer` to the part of a request at `location`, which starts with body, query or header.

    In the body it is a JSON pointer (RFC 6901), empty for the whole body; a query parameter is `?NAME`.
    """
    part, *path = (str(step) for step in location)
    if part == "body":
        return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)
    return f"?{path[0]}" if part == "query" else path[0]


def _is_part(location: Location) -> bool:
    """Return whether `pointer_to` can name a location: the body as a whole, or a named part of a request."""
    return location[:1] == ("body",) or len(location) > 1


def _location_in(body: Any, location: Location, *, is_missing: bool) -> Location:
    """Return one of pydantic's locations without its steps that are not in the body, such as members of unions.

    The last step is kept if it is the field that is missing.
    """
    part, *steps = location
    if part != "body":
        return location
    found: list[int | str] = []
    for index, step in enumerate(steps):
        if (isinstance(body, dict) and step in body) or (isinstance(body, list) and isinstance(step, int)):
            found.append(step)
            body = cast(Any, body)[step]
        elif is_missing and index == len(steps) - 1:
            found.append(step)
    return part, *found


async def _handle_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = _KIND_OF_STATUS.get(error.status_code, ProblemKind("http", error.status_code, "The request was refused"))
    detail = str(error.detail)
    if detail == HTTPStatus(error.status_code).phrase:
        detail = f"The service refuses {request.method} of `{request.url.path}`: {detail}. /docs lists its routes."
    response = problem_response(kind, detail)
    if kind == NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(filter(partial(_has_route, request), _METHODS))
    return response


def _has_route(request: Request, method: str) -> bool:
    """Return whether a route answers a method of the path of a request."""
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] == Match.FULL for route in request.app.routes)


async def _handle_disconnect(_request: Request, _error: Exception) -> JSONResponse:
    return problem_response(CLIENT_LEFT, "The client has closed the connection before the end of its request.")


async def _handle_database_error(_request: Request, error: Exception) -> JSONResponse:
    _log.error("The database cannot be reached: %s", error)
    return problem_response(UNAVAILABLE, "The database cannot be reached at the moment. Try again.")


async def _handle_storage_error(_request: Request, error: Exception) -> JSONResponse:
    _log.error("The storage cannot be reached: %s", error)
    return problem_response(UNAVAILABLE, "The storage of forecasts cannot be reached at the moment. Try again.")


async def _handle_system_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    if not is_disk_full(error):
        return await _handle_unexpected_error(request, error)
    _log.error("The disk is full: %s", error)
    return problem_response(
        INSUFFICIENT_STORAGE, "The disk of the service is full. Delete forecasts, or try again later."
    )


async def _handle_unexpected_error(_request: Request, error: Exception) -> JSONResponse:
    response = problem_response(INTERNAL, "This is a fault of the service, not of the request.")
    _log.error("Unexpected error", exc_info=error)
    return response
