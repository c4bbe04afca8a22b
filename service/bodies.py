"""Read JSON bodies strictly: no value is converted to another type, and no name may occur twice in an object."""

from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers

from service.expectations import explain_errors
from service.openapi import JSON
from service.problems import UNSUPPORTED, VALIDATION, ServiceError
from service.requests import ReplayBody
from weather.strict_json import parse_json

_MAX_FAULTS = 1000

T = TypeVar("T", bound=BaseModel)


def media_type(headers: Headers) -> str:
    """Return the media type of a body in small letters, without its parameters."""
    return headers.get("content-type", "").split(";")[0].strip().lower()


def validate_body(model: type[T], content: bytes) -> T:
    """Return the model that JSON describes.

    Raises `RequestValidationError` for invalid fields, and `ServiceError` for what is no strict JSON.
    """
    try:
        value = parse_json(content)
    except ValueError as error:
        raise ServiceError(VALIDATION, str(error), ("body",)) from error
    try:
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        if error.error_count() > _MAX_FAULTS:  # to list them would hold up other requests
            message = f"The request is invalid in {error.error_count()} places, too many to name them."
            raise ServiceError(VALIDATION, message, ("body",)) from None
        explained = explain_errors(model, error.errors(include_url=False))
        entries = [dict(entry) | {"loc": ("body", *entry["loc"])} for entry in explained]
        raise RequestValidationError(entries, body=value) from error


async def read_replay_body(request: Request) -> ReplayBody:
    """Return the body of a request to replay members; raise the errors of `validate_body`, or 415."""
    return validate_body(ReplayBody, await read_json_body(request))


async def read_json_body(request: Request) -> bytes:
    """Return the body of a request; raise `ServiceError` (415) if it is not declared as JSON."""
    content_type = media_type(request.headers)
    if content_type != JSON:
        raise ServiceError(UNSUPPORTED, f"`Content-Type` must be {JSON}. Got: {content_type[:100]!r}.")
    return await request.body()
