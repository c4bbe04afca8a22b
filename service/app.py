"""Create the FastAPI application from its routes, middleware, error handlers and metrics."""

import importlib.metadata
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import cache

from anyio import to_thread
from fastapi import APIRouter, FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute

from jobs.settings import Settings
from service import openapi, problems
from service.authentication import Authentication
from service.caching import SharedHeaders
from service.dependencies import Service
from service.lifespan import open_service
from service.metrics import Metrics
from service.middleware import BodyLimit, RequestGuard, RequestMetrics
from service.parameters import KNOWN_PARAMETERS
from service.refusals import CountRefusals
from service.request_log import RequestLog
from service.routes import (
    as_of,
    audit,
    batch_data,
    batch_events,
    batch_quality,
    batches,
    data,
    datasets,
    deliveries,
    documentation,
    edr,
    events,
    exports,
    forecasts,
    health,
    initial_states,
    inspections,
    kept_states,
    limits,
    log,
    models,
    pages,
    plots,
    positions,
    processes,
    quality,
    schedules,
    status,
    usage,
)
from service.schedule_file import apply_file
from service.scheduler import Scheduler, run_scheduler


def create_app(
    settings: Settings,
    *,
    only_loopback: bool = True,
    with_worker: bool = True,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
) -> FastAPI:
    """Return the application; files, database and worker are opened when it starts.

    With `with_worker` and the local dispatcher it locks the data folder and keeps one worker process running.
    `only_loopback` says that only this machine can reach it; only then are requests without a key served and
    `/metrics` is a route. With `metrics_port` the metrics are served on that port of `metrics_host` instead.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            service = app.state.service = open_service(
                settings,
                metrics,
                stack,
                only_loopback=only_loopback,
                with_worker=with_worker,
                metrics_port=metrics_port,
                metrics_host=metrics_host,
            )
            async with _carry_out_schedules(service, metrics):
                yield

    app = FastAPI(
        title="Warmcast",
        summary="Ensemble weather forecasts by warm-start flow matching",
        version=importlib.metadata.version("warmcast"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    problems.add_handlers(app)
    openapi.add_schemas(app)
    _add_middleware(app, settings, metrics, only_loopback=only_loopback)
    app.router.routes.extend(_common_routes())
    if only_loopback and metrics_port is None:
        app.state.metrics = metrics
        app.include_router(health.metrics_router)
    # around the handler of unexpected errors, which is outside of all that `add_middleware` adds
    app.middleware_stack = RequestLog(app.build_middleware_stack())
    return app


@asynccontextmanager
async def _carry_out_schedules(service: Service, metrics: Metrics) -> AsyncIterator[None]:
    """Make the schedules of the configuration, and carry out all while the block runs."""
    if service.settings.service.schedules_file is not None:
        await to_thread.run_sync(apply_file, service, service.settings.service.schedules_file)
    async with run_scheduler(Scheduler(service, lambda outcome: metrics.scheduled.labels(outcome).inc())):
        yield


def _add_middleware(app: FastAPI, settings: Settings, metrics: Metrics, *, only_loopback: bool) -> None:
    """Add the middleware; each is called by the one that is added after it."""
    public_url = settings.service.public_url
    open_paths = pages.page_paths()
    if settings.service.docs == "public":
        open_paths |= documentation.PATHS
    if not public_url:
        open_paths |= {health.METRICS_PATH}
    app.add_middleware(Authentication, open_paths=open_paths, open_prefix=pages.VIEW_PREFIX)
    app.add_middleware(RequestGuard, only_loopback=only_loopback, public_url=public_url)
    handlers = {kind: handler for kind, handler in app.exception_handlers.items() if kind is not Exception}
    app.add_middleware(ExceptionMiddleware, handlers=handlers)
    app.add_middleware(BodyLimit, max_upload_bytes=settings.limits.max_upload_bytes)
    app.add_middleware(SharedHeaders)
    app.add_middleware(CountRefusals)
    app.add_middleware(RequestMetrics, metrics=metrics)


@cache
def _common_routes() -> Sequence[BaseRoute]:
    """Return all routes but the metrics: those of forecasts under `/v1`, and at the root without a description.

    The applications of a process share them, since FastAPI takes a third of a second to prepare them at the first
    request.
    """
    common = APIRouter()
    status.add_to(common)
    for router in (
        forecasts.router,
        batches.router,
        batch_events.router,
        batch_quality.router,
        events.router,
        log.router,
        deliveries.router,
        plots.router,
        positions.router,
        exports.router,
        quality.router,
        models.router,
        datasets.router,
        inspections.router,
        kept_states.router,
        schedules.router,
        limits.router,
        audit.router,
        usage.router,
    ):
        common.include_router(router, prefix="/v1", dependencies=[KNOWN_PARAMETERS])
        common.include_router(router, include_in_schema=False, dependencies=[KNOWN_PARAMETERS])
    for router in (data.router, as_of.router, batch_data.router, initial_states.router, schedules.files_router):
        common.include_router(router, prefix="/v1")
        common.include_router(router, include_in_schema=False)
    common.include_router(processes.router)
    common.include_router(edr.router)
    common.include_router(health.router)
    common.include_router(documentation.router)
    common.include_router(pages.router)
    return tuple(common.routes)
