"""ASGI middleware: limit request bodies, measure requests, refuse malformed and foreign ones."""

import asyncio
import re
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.bodies import media_type
from service.metrics import Metrics
from service.openapi import MULTIPART
from service.problems import BODY_TIMEOUT, FOREIGN_HOST, FOREIGN_ORIGIN, MALFORMED, TOO_LARGE, ServiceError
from weather.stores.layout import ENSEMBLE, SUMMARY

MAX_JSON_BYTES = 100_000
"""Largest size of a body that is not an upload: some ten times the largest request, and checked in some 50 ms."""

_UPLOAD_PATH = re.compile(r"(?:/v1)?/(?:forecast|inspect|states|forecast/[^/]+/verify)")
_BODY_SECONDS, _BODY_BYTES_PER_SECOND = 30, 10_000
_NO_ROUTE = "none"
_STORE_PATHS = (f"/{ENSEMBLE}", f"/{SUMMARY}")
_READS = {"GET", "HEAD", "OPTIONS"}
_METHODS = _READS | {"POST", "PUT", "PATCH", "DELETE"}
_OTHER_METHOD = "other"
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_HOST = re.compile(r"([\w.~-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?", re.ASCII)


class BodyLimit:
    """Receive bodies within limits of size and time; close the connection after a response before the body's end.

    Multipart bodies of routes with uploads may have `max_upload_bytes`, all others 100 kB. A body may take 30 s, and
    1 s more for each 10 kB. What is not received by the application is not received at all, and not drained after the
    response.
    """

    def __init__(self, app: ASGIApp, *, max_upload_bytes: int) -> None:
        self._app, self._max_upload_bytes = app, max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the application, with limits on its body if it has one."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            size = _declared_size(headers)
            if size != 0:
                is_upload = media_type(headers) == MULTIPART and _UPLOAD_PATH.fullmatch(scope["path"]) is not None
                max_bytes = self._max_upload_bytes if is_upload else MAX_JSON_BYTES
                body = _LimitedBody(receive, send, size, max_bytes)
                receive, send = body.receive, body.send
        await self._app(scope, receive, send)


class _LimitedBody:
    """The body of one request; `size` is what its header says, or None if the size is not known before its end."""

    def __init__(self, receive: Receive, send: Send, size: int | None, max_bytes: int) -> None:
        self._receive, self._send, self._size, self._max_bytes = receive, send, size, max_bytes
        self._received, self._waited = 0, 0.0
        self._is_complete = False

    async def receive(self) -> Message:
        """Return the next part of the body; raise `ServiceError` (413, 408) if it is too large or too slow."""
        if self._is_complete:
            return await self._receive()
        self._check_size(self._size or 0)
        message = await self._receive_in_time()
        self._received += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        self._check_size(self._received)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response, with the header that closes the connection if the body has not ended."""
        if message["type"] == "http.response.start" and not self._is_complete:
            MutableHeaders(scope=message)["Connection"] = "close"
        await self._send(message)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            limit = f"The body of this request may have at most {self._max_bytes} bytes."
            raise ServiceError(TOO_LARGE, f"{limit} Got: {self._size or 'more'}.", ("body",))

    async def _receive_in_time(self) -> Message:
        allowed = _BODY_SECONDS + self._received / _BODY_BYTES_PER_SECOND
        began = time.monotonic()
        try:
            async with asyncio.timeout(allowed - self._waited):
                return await self._receive()
        except TimeoutError:
            raise ServiceError(
                BODY_TIMEOUT,
                f"The body must be complete after {_BODY_SECONDS} s and 1 s for each {_BODY_BYTES_PER_SECOND} bytes. "
                f"Got: {self._received} bytes in that time.",
                ("body",),
            ) from None
        finally:
            self._waited += time.monotonic() - began


def _declared_size(headers: Headers) -> int | None:
    """Return the size of a body by its headers; None if it is not known, 0 if there is no body."""
    if "transfer-encoding" in headers:
        return None
    size = headers.get("content-length", "0")
    return int(size) if size.isdecimal() and len(size) < 20 else None


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


class RequestGuard:
    """Refuse what no client sends in good faith, before the request is read further.

    These are NUL characters in the path or the query and malformed hosts (400), on loopback unknown host names (421,
    against DNS rebinding), and writes from pages of other origins (403).
    """

    def __init__(self, app: ASGIApp, *, only_loopback: bool, public_url: str | None) -> None:
        self._app, self._only_loopback = app, only_loopback
        self._public = urlsplit(public_url).netloc if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the application if its path, `Host` and `Origin` are allowed."""
        if scope["type"] == "http":
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:
                raise ServiceError(MALFORMED, "The path and the query of a request may have no NUL character.")
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            self._check_host(host)
            if scope["method"] not in _READS:
                self._check_origin(headers.get("origin"), host)
        await self._app(scope, receive, send)

    def _check_host(self, host: str) -> None:
        name = _HOST.fullmatch(host)
        if self._only_loopback and host != self._public and (name is None or name[1].lower() not in _LOOPBACK):
            raise ServiceError(FOREIGN_HOST, f"`Host` must name this machine: localhost, 127.0.0.1. Got: {host!r}.")
        if host and name is None:
            raise ServiceError(MALFORMED, f"`Host` must be a name or an address, and a port. Got: {host!r}.")

    def _check_origin(self, origin: str | None, host: str) -> None:
        if origin is not None and _netloc(origin) not in {host, self._public} - {""}:
            raise ServiceError(FOREIGN_ORIGIN, f"`Origin` must be that of the service. Got: {origin!r}.")


def _netloc(url: str) -> str:
    """Return `host:port` of a URL; empty if it has none, such as `null`, or is malformed."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
