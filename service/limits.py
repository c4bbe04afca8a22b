"""How much a request may carry, declared or not."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import TOO_LARGE, ServiceError, answer


class BodyLimit:
    """Refuse bodies of more than `max_bytes`, at once where the length is declared, else when they go beyond."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = f"The body of a request may have at most {self._max_bytes} bytes."
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            refusal = answer(TOO_LARGE, f"{told} Got: {declared}.")
            refusal.headers["Connection"] = "close"
            await refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise ServiceError(TOO_LARGE, f"{told} Got: more.")
            return message

        await self._app(scope, counted, send)
