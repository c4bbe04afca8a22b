"""Conversions to and from httpx, which both transports share: requests, responses and errors."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx

from warmcast.errors import ServiceUrlError
from warmcast.exchange import Answer, Failure, Request, Service


@contextmanager
def http_arguments(service: Service, request: Request) -> Iterator[dict[str, Any]]:
    """Yield the arguments of `httpx.Client.build_request`; the files to send are open until the block ends."""
    connect, read = service.timeouts(request)
    try:
        url = httpx.URL(f"{service.url}/v1{request.path}")
    except httpx.InvalidURL as error:
        raise ServiceUrlError(
            f"The URL of the service (WARMCAST_URL) is wrong: {error}. Got: {service.url!r}."
        ) from error
    with ExitStack() as stack:
        parts = [(name, (path.name, stack.enter_context(path.open("rb")))) for name, path in request.files]
        yield {
            "method": request.method,
            "url": url,
            "params": dict(request.parameters),
            "headers": {**service.headers, **request.headers},
            "json": request.json,
            "data": request.form,
            "files": parts or None,
            "timeout": httpx.Timeout(read, connect=connect),
        }


def answer_of(response: httpx.Response, content: bytes = b"") -> Answer:
    """Convert a response; `content` is its body, or empty if the body is read later."""
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, content)


def failure_of(error: httpx.HTTPError) -> Failure:
    """Convert an error of httpx; if no connection was made, the request was not sent."""
    was_sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return Failure(str(error) or type(error).__name__, was_sent)
