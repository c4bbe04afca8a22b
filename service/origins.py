"""Protect against requests that web pages of other origins make on behalf of a user."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.problems import FOREIGN_HOST, FOREIGN_ORIGIN, problem_response

_READS = {"GET", "HEAD", "OPTIONS"}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


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
            if self._only_loopback and host != self._public and urlsplit(f"//{host}").hostname not in _LOOPBACK:
                refusal = problem_response(
                    FOREIGN_HOST, f"`Host` must name this machine: localhost, 127.0.0.1. Got: {host!r}."
                )
                await refusal(scope, receive, send)
                return
            if (
                scope["method"] not in _READS
                and origin is not None
                and urlsplit(origin).netloc not in {host, self._public}
            ):
                refusal = problem_response(FOREIGN_ORIGIN, f"`Origin` must be that of the service. Got: {origin!r}.")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
