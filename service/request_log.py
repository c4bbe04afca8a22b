"""ASGI middleware that gives each request an id and writes one line about it to the log."""

import logging
import random
import re
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.logs import FIELDS, log_subjects

REQUEST_ID = "X-Request-ID"
_TRACE = "traceparent"
_VALID_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_VALID_ID = re.compile(r"[\w.-]{8,64}", re.ASCII)
_NOT_SENT = 499
"""Status in the log of a request whose client left before the response."""

_random = random.Random()
"""Without a call of the system for each request: the ids are unlike others, and protect nothing."""
_log = logging.getLogger(__name__)


class RequestLog:
    """Log method, path without query, status, bytes and seconds of each request once its response has ended.

    All lines that are logged meanwhile have the id of the request: that of its header `X-Request-ID` if it has 8 to 64
    letters, digits, `_`, `.` or `-`, else that of the trace in its header `traceparent` (W3C), else a random one. The
    response repeats it in the same header, and a valid `traceparent` as well.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the application, and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        trace = _VALID_TRACE.fullmatch(headers.get(_TRACE, ""))
        request_id = headers.get(REQUEST_ID, "")
        if not _VALID_ID.fullmatch(request_id):
            request_id = f"{_random.getrandbits(64):016x}" if trace is None else trace[1]
        status, size, began = _NOT_SENT, 0, time.perf_counter()

        async def send_and_count(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_answered_headers(request_id, trace)]
            else:
                size += len(message.get("body", b""))
            await send(message)

        with log_subjects(request_id=request_id):
            try:
                await self._app(scope, receive, send_and_count)
            finally:
                if _log.isEnabledFor(logging.INFO):
                    _write(scope["method"], scope["path"], status, size, time.perf_counter() - began)


def _answered_headers(request_id: str, trace: re.Match[str] | None) -> list[tuple[bytes, bytes]]:
    headers = [(REQUEST_ID.lower().encode(), request_id.encode())]
    return headers if trace is None else [*headers, (_TRACE.encode(), trace[0].encode())]


def _write(method: str, path: str, status: int, size: int, seconds: float) -> None:
    fields = {"method": method, "path": path, "status": status, "bytes": size, "seconds": round(seconds, 6)}
    _log.info("%s %s %d, %d bytes in %.4f s", method, path, status, size, seconds, extra={FIELDS: fields})
