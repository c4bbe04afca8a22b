"""The Celery task, found by its name, and the thread beside it that says that its process is alive."""

import logging
import threading
import time
from dataclasses import dataclass
from functools import cache

from celery import shared_task
from celery.signals import worker_process_init
from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.dispatch import TASK, CeleryDispatcher
from jobs.settings import Settings
from jobs.sharing import count_useful, may_get_some
from workers.runtime import Runtime

_TELL_SECONDS = 5.0

_log = logging.getLogger(__name__)
_making = threading.Lock()


@shared_task(name=TASK)  # type: ignore[untyped-decorator] # Celery has no types
def forecast() -> None:
    """Do what is free, or wait for what another worker hands over; then poke those who can do what is there now."""
    here = _process()
    while not here.runtime.run():
        if not may_get_some(here.database, here.runtime.name):
            return
        time.sleep(here.settings.poll_seconds)
    here.dispatcher.poke(count_useful(here.database, here.settings.max_attempts))


@worker_process_init.connect  # type: ignore[untyped-decorator] # Celery has no types
def _watch(**_: object) -> None:
    threading.Thread(target=_tell_alive, name="alive", daemon=True).start()


def _tell_alive() -> None:
    """Tell that this worker is alive, also while nothing comes: no task runs then."""
    while True:
        try:
            _process().runtime.tell_alive()
        except SQLAlchemyError as error:
            _log.warning("The database was not reached: %s", error)
        time.sleep(_TELL_SECONDS)


@dataclass(frozen=True)
class _Process:
    """What this process works with."""

    settings: Settings
    database: Database
    dispatcher: CeleryDispatcher
    runtime: Runtime


def _process() -> _Process:
    """Return it, made when it is needed first."""
    with _making:
        return _make_process()


@cache
def _make_process() -> _Process:
    settings = Settings.read()
    database = Database(settings.url)
    return _Process(settings, database, CeleryDispatcher(settings), Runtime(settings, database))
