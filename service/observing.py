"""How long answers take and how much is sent: around every request."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics

_NO_ROUTE = "none"
_OF_STORES = ("/ensemble.zarr", "/summary.zarr")


class Observer:
    """Tell the metrics of each request its route, and of stores the bytes."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        sends_data = any(store in scope["path"] for store in _OF_STORES)

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", _NO_ROUTE).removeprefix("/v1")
                series = self._metrics.requests.labels(route, scope["method"], str(message["status"]))
                series.observe(time.perf_counter() - began)
            elif sends_data:
                self._metrics.chunk_bytes.inc(len(message.get("body", b"")))
            await send(message)

        await self._app(scope, receive, observed)
