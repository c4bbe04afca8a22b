"""What is looked after while the service runs: forgotten work, expired data, folders left behind."""

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.dispatch import Dispatcher
from jobs.reconcile import reconcile
from jobs.retention import expire, sweep
from jobs.settings import Settings
from weather.places import Place

_SWEEP_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Upkeep:
    """A thread that does so while it is entered."""

    def __init__(self, settings: Settings, database: Database, dispatcher: Dispatcher, data: Place) -> None:
        self._settings, self._database, self._dispatcher, self._data = settings, database, dispatcher, data
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        settings, swept = self._settings, 0.0
        while True:
            try:
                reconcile(self._database, self._dispatcher, settings.max_attempts)
                if time.monotonic() > swept + min(_SWEEP_SECONDS, 60 * settings.reconcile_seconds):
                    expire(self._database, settings.keep_hours)
                    sweep(self._database, self._data)
                    swept = time.monotonic()
            except (SQLAlchemyError, OSError) as error:
                _log.warning("Upkeep waits for the next turn: %s", error)
            if self._over.wait(settings.reconcile_seconds):
                return
