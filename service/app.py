"""Create the FastAPI application: its routes, middleware, metrics and background tasks."""

import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from fastapi import FastAPI
from prometheus_client import start_http_server

from jobs.database import Database
from jobs.dispatch import CeleryDispatcher, Dispatcher, LocalDispatcher
from jobs.settings import Settings
from jobs.supervisor import Supervisor
from service import document, problems
from service.collector import RowsCollector
from service.context import Service
from service.limits import BodyLimit
from service.metrics import Metrics
from service.observing import RequestMetrics
from service.origins import OriginGuard
from service.routes import data, events, forecasts, health, models, plots, quality
from service.routes import metrics as metrics_route
from service.upkeep import upkeep_tasks
from storage.errors import DataDirectoryError
from storage.lock import lock_folder
from storage.opening import open_storage


def create_app(
    settings: Settings, *, only_loopback: bool = True, with_worker: bool = True, metrics_port: int | None = None
) -> FastAPI:
    """Return the application; it opens nothing before it starts.

    With `with_worker` and the local dispatcher it locks the data folder and keeps one worker process running.
    `only_loopback` says that only this machine can reach it; only then are requests without a key served and
    `/metrics` is a route. With `metrics_port` the metrics are served on that port instead, on all addresses.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            settings.data.mkdir(parents=True, exist_ok=True)
            if with_worker and settings.dispatcher == "local":
                in_use = DataDirectoryError(f"`{settings.data}` is served by another process. Choose another --data.")
                stack.enter_context(lock_folder(settings.data, in_use))
            database = Database(settings.url)
            stack.callback(database.close)
            database.migrate()
            dispatcher: Dispatcher = LocalDispatcher() if settings.dispatcher == "local" else CeleryDispatcher(settings)
            _serve_metrics(metrics, RowsCollector(settings, database), metrics_port, stack)
            service = Service(
                settings, database, dispatcher, open_storage(settings.data, settings.store), only_loopback
            )
            app.state.service = service
            for task in upkeep_tasks(settings, database, dispatcher, service.data):
                stack.enter_context(task)
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
    problems.add_handlers(app)
    document.add_schemas(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes)
    app.add_middleware(RequestMetrics, metrics=metrics)
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
    """Register the metrics of the database and, if `port` is given, serve all metrics there, until `stack` closes."""
    metrics.registry.register(rows)
    stack.callback(metrics.registry.unregister, rows)
    if port is not None:
        server, thread = start_http_server(port, registry=metrics.registry)
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
