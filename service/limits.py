"""A limit on the size of request bodies, with or without a declared length."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import TOO_LARGE, ServiceError, problem_response


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
            refusal = problem_response(TOO_LARGE, f"{limit} Got: {declared}.")
            refusal.headers["Connection"] = "close"
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise ServiceError(TOO_LARGE, f"{limit} Got: more.")
            return message

        await self._app(scope, receive_within_limit, send)
