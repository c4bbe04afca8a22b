"""Measure the latency of every request and the bytes of ensemble data sent."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics

_NO_ROUTE = "none"
_STORE_PATHS = ("/ensemble.zarr", "/summary.zarr")


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
                series = self._metrics.requests.labels(route, scope["method"], str(message["status"]))
                series.observe(time.perf_counter() - began)
            elif is_store:
                self._metrics.chunk_bytes.inc(len(message.get("body", b"")))
            await send(message)

        await self._app(scope, receive, send_and_observe)
