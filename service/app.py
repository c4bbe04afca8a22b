"""The application: routes under `/v1` and at the root, and what runs beside them while it lives."""

import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from fastapi import FastAPI
from prometheus_client import start_http_server

from jobs.database import Database
from jobs.dispatch import CeleryDispatcher, Dispatcher, LocalDispatcher
from jobs.places import data_place
from jobs.settings import Settings
from jobs.supervisor import Supervisor
from service import document, problems
from service.collector import RowsCollector
from service.context import Service
from service.limits import BodyLimit
from service.metrics import Metrics
from service.observing import Observer
from service.origins import OriginGuard
from service.routes import data, events, forecasts, health, models, plots, quality
from service.routes import metrics as metrics_route
from service.upkeep import Upkeep
from storage.errors import DataDirectoryError
from weather.lock import only_holder


def create_app(
    settings: Settings, *, only_loopback: bool = True, with_worker: bool = True, metrics_port: int | None = None
) -> FastAPI:
    """Return the application; nothing is opened before it starts.

    `with_worker` it holds a lock on the data folder and, with the local dispatcher, keeps one worker running.
    `only_loopback` says that nobody else can reach it: only then is anybody served without a key, and `/metrics`
    among the routes. With `metrics_port` they have a port of their own, for all addresses.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            settings.data.mkdir(parents=True, exist_ok=True)
            if with_worker and settings.dispatcher == "local":
                taken = DataDirectoryError(f"`{settings.data}` is served by another process. Choose another --data.")
                stack.enter_context(only_holder(settings.data, taken))
            database = Database(settings.url)
            stack.callback(database.close)
            database.migrate()
            dispatcher: Dispatcher = LocalDispatcher() if settings.dispatcher == "local" else CeleryDispatcher(settings)
            _serve_metrics(metrics, RowsCollector(settings, database), metrics_port, stack)
            service = Service(settings, database, dispatcher, data_place(settings), only_loopback)
            app.state.service = service
            stack.enter_context(Upkeep(settings, database, dispatcher, service.data))
            if with_worker and settings.dispatcher == "local":
                stack.enter_context(Supervisor(settings))
            yield

    metrics = Metrics()
    app = FastAPI(
        title="Warmcast",
        summary="Ensemble weather forecasts by warm-start flow matching",
        version=importlib.metadata.version("warmcast"),
        lifespan=lifespan,
        redoc_url=None,
    )
    problems.install(app)
    document.install(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes)
    app.add_middleware(Observer, metrics=metrics)
    app.add_middleware(OriginGuard, only_loopback=only_loopback, public_url=settings.public_url)
    for router in (forecasts.router, events.router, data.router, plots.router, quality.router, models.router):
        app.include_router(router, prefix="/v1")
        app.include_router(router, include_in_schema=False)
    app.include_router(health.router)
    if only_loopback and metrics_port is None:
        app.state.metrics = metrics
        app.include_router(metrics_route.router)
    return app


def _serve_metrics(metrics: Metrics, rows: RowsCollector, port: int | None, stack: ExitStack) -> None:
    """Collect from the rows, and answer on a port of its own where one is given, until `stack` ends."""
    metrics.registry.register(rows)
    stack.callback(metrics.registry.unregister, rows)
    if port is not None:
        server, thread = start_http_server(port, registry=metrics.registry)
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
