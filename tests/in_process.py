"""The service inside the test's own process: the real application, database and files, without a socket or a worker."""

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache, partialmethod
from typing import Any, TypeVar

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from jobs.settings import Settings
from service.app import create_app

T = TypeVar("T")


class InProcess:
    """A started application, and blocking requests to it; an exception that it raises becomes its own response."""

    def __init__(self, app: FastAPI, portal: BlockingPortal) -> None:
        self.app, self._portal = app, portal

    def start(self, method: str, path: str, **options: Any) -> "Future[httpx.Response]":
        """Send a request, and return the future of its complete response."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **options)

        return self.start_task(send)

    def start_task(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> "Future[T]":
        """Call a function in the event loop of the application, and return the future of its result."""
        return self._portal.start_task_soon(function, *arguments)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request and return its response."""
        return self.start(method, path, **options).result(30)

    get = partialmethod(request, "GET")
    head = partialmethod(request, "HEAD")
    post = partialmethod(request, "POST")
    patch = partialmethod(request, "PATCH")
    delete = partialmethod(request, "DELETE")


@cache
def describe_api() -> dict[str, Any]:
    """Return the OpenAPI document of a service with the default settings, which must not be changed."""
    return create_app(Settings()).openapi()


def list_routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield the method and the template of all routes, also of those that the OpenAPI document leaves out."""
    for route in app.routes:
        described: Any = route
        contexts = described.effective_route_contexts() if hasattr(route, "effective_route_contexts") else [described]
        for context in contexts:
            yield from ((method, context.path) for method in sorted(context.methods - {"HEAD", "OPTIONS"}))


@contextmanager
def run_in_process(app: FastAPI) -> Iterator[InProcess]:
    """Start an application, and stop it at the end of the block."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(app.router.lifespan_context(app)):
        yield InProcess(app, portal)
