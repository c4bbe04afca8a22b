"""ASGI middleware: limit request bodies, measure requests, refuse writes from pages of other origins."""

import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.problems import FOREIGN_HOST, FOREIGN_ORIGIN, TOO_LARGE, ServiceError, problem_response
from weather.stores.layout import ENSEMBLE, SUMMARY

_NO_ROUTE = "none"
_STORE_PATHS = (f"/{ENSEMBLE}", f"/{SUMMARY}")
_READS = {"GET", "HEAD", "OPTIONS"}
_METHODS = _READS | {"POST", "PUT", "PATCH", "DELETE"}
_OTHER_METHOD = "other"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class BodyLimit:
    """Refuse bodies of more than `max_bytes`: at once if `Content-Length` says so, else when the limit is exceeded."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the application while its body is within the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = f"The body of a request may have at most {self._max_bytes} bytes."
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            detail = f"{limit} Got: {declared} bytes."
            refusal = problem_response(TOO_LARGE, detail, [{"pointer": "", "detail": detail}])
            refusal.headers["Connection"] = "close"
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise ServiceError(TOO_LARGE, f"{limit} Got: more.", ("body",))
            return message

        await self._app(scope, receive_within_limit, send)


class RequestMetrics:
    """Record the latency of each request by route, method and status code, and the bytes sent from stores."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the application and observe the messages it sends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        is_store = any(store in scope["path"] for store in _STORE_PATHS)

        async def send_and_observe(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", _NO_ROUTE).removeprefix("/v1")
                method = scope["method"] if scope["method"] in _METHODS else _OTHER_METHOD
                series = self._metrics.requests.labels(route, method, str(message["status"]))
                series.observe(time.perf_counter() - began)
            elif is_store:
                self._metrics.chunk_bytes.inc(len(message.get("body", b"")))
            await send(message)

        await self._app(scope, receive, send_and_observe)


class OriginGuard:
    """Refuse writes from pages of other origins (403) and, on loopback, unknown host names (421, DNS rebinding)."""

    def __init__(self, app: ASGIApp, *, only_loopback: bool, public_url: str | None) -> None:
        self._app, self._only_loopback = app, only_loopback
        self._public = urlsplit(public_url).netloc if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the application if its `Host` and `Origin` are allowed."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host, origin = headers.get("host", ""), headers.get("origin")
            if self._only_loopback and host != self._public and _hostname(host) not in _LOOPBACK:
                refusal = problem_response(
                    FOREIGN_HOST, f"`Host` must name this machine: localhost, 127.0.0.1. Got: {host!r}."
                )
                await refusal(scope, receive, send)
                return
            own = {host, self._public} - {""}
            if scope["method"] not in _READS and origin is not None and _netloc(origin) not in own:
                refusal = problem_response(FOREIGN_ORIGIN, f"`Origin` must be that of the service. Got: {origin!r}.")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _netloc(url: str) -> str:
    """Return `host:port` of a URL; empty if it has none, such as `null`, or is malformed."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def _hostname(netloc: str) -> str | None:
    """Return the host of `host:port` in lower case, or None if it is malformed or missing."""
    try:
        return urlsplit(f"//{netloc}").hostname
    except ValueError:
        return None
