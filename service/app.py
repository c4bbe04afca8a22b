"""The application: routes under `/v1` and at the root, and what runs beside them while it lives."""

import importlib.metadata
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.dispatch import CeleryDispatcher, Dispatcher, LocalDispatcher
from jobs.reconcile import reconcile
from jobs.settings import Settings
from jobs.supervisor import Supervisor
from service import problems
from service.context import Service
from service.limits import BodyLimit
from service.origins import OriginGuard
from service.routes import data, events, forecasts, health, models
from weather.errors import DataDirectoryError
from weather.lock import only_holder

_log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """Return the application; nothing is opened before it starts.

    With the local dispatcher it holds a lock on the data folder and keeps one worker running.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            settings.data.mkdir(parents=True, exist_ok=True)
            if settings.dispatcher == "local":
                taken = DataDirectoryError(f"`{settings.data}` is served by another process. Choose another --data.")
                stack.enter_context(only_holder(settings.data, taken))
            database = Database(settings.url)
            stack.callback(database.close)
            database.migrate()
            dispatcher: Dispatcher = LocalDispatcher() if settings.dispatcher == "local" else CeleryDispatcher(settings)
            app.state.service = Service(settings, database, dispatcher)
            stack.enter_context(_Reconciler(settings, database, dispatcher))
            if settings.dispatcher == "local":
                stack.enter_context(Supervisor(settings))
            yield

    app = FastAPI(
        title="Warmcast",
        summary="Ensemble weather forecasts by warm-start flow matching",
        version=importlib.metadata.version("warmcast"),
        lifespan=lifespan,
        redoc_url=None,
    )
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes)
    app.add_middleware(OriginGuard)
    for router in (forecasts.router, events.router, data.router, models.router):
        app.include_router(router, prefix="/v1")
        app.include_router(router, include_in_schema=False)
    app.include_router(health.router)
    return app


class _Reconciler:
    """A thread that looks after forgotten work."""

    def __init__(self, settings: Settings, database: Database, dispatcher: Dispatcher) -> None:
        self._over = threading.Event()
        self._arguments = (database, dispatcher, settings.max_attempts)
        self._every = settings.reconcile_seconds
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                reconcile(*self._arguments)
            except SQLAlchemyError as error:
                _log.warning("The database was not reached: %s", error)
            if self._over.wait(self._every):
                return
