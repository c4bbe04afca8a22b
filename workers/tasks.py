"""The Celery task, found by its name, and the thread beside it that says that its process is alive."""

import logging
import threading
import time
from functools import cache

from celery import shared_task
from celery.signals import worker_process_init
from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.dispatch import TASK
from jobs.settings import Settings
from workers.runtime import Runtime

_TELL_SECONDS = 5.0

_log = logging.getLogger(__name__)
_making = threading.Lock()


@shared_task(name=TASK)  # type: ignore[untyped-decorator] # Celery has no types
def forecast(work_id: int) -> None:
    """Do the work of a row with all that is free of its forecast, or what else is free; nothing where nothing is."""
    _runtime().run(work_id)


@worker_process_init.connect  # type: ignore[untyped-decorator] # Celery has no types
def _watch(**_: object) -> None:
    threading.Thread(target=_tell_alive, name="alive", daemon=True).start()


def _tell_alive() -> None:
    """Tell that this worker is alive, also while nothing comes: no task runs then."""
    while True:
        try:
            _runtime().tell_alive()
        except SQLAlchemyError as error:
            _log.warning("The database was not reached: %s", error)
        time.sleep(_TELL_SECONDS)


def _runtime() -> Runtime:
    """Return the runtime of this process, made when it is needed first."""
    with _making:
        return _make_runtime()


@cache
def _make_runtime() -> Runtime:
    settings = Settings.read()
    return Runtime(settings, Database(settings.url))
