"""Run a worker: `warmcast worker`, or `python -m workers.polling PARENT` as the supervisor starts it."""

import ctypes
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from jobs.rows.database import Database
from jobs.settings import Settings
from workers.celery_worker import run_celery_worker
from workers.loop import Worker

_PR_SET_PDEATHSIG = 1

_log = logging.getLogger(__name__)


def run_worker(*, data: Path | None) -> dict[str, Any]:
    """Run a worker until it is stopped; `data` replaces the data folder of the settings."""
    settings = Settings.read()
    if data is not None:
        settings = settings.replace(data=data)
    if settings.service.dispatcher == "celery":
        run_celery_worker(settings)
    else:
        poll(settings)
    return {}


def poll(settings: Settings, parent: int | None = None) -> None:
    """Poll the database for work and do it, until stopped; the process also ends when the process `parent` ends."""
    signal.signal(signal.SIGTERM, _exit_softly)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if parent is not None:
        _end_with_parent(parent)
    database = Database(settings.storage.sql_url)
    database.migrate()
    worker = Worker(settings, database)
    while True:
        try:
            busy = worker.run()
        except SQLAlchemyError as error:
            _log.warning("The database is not reachable: %s", error)
            busy = False
        if not busy:
            time.sleep(settings.worker.poll_seconds)


def _exit_softly(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _end_with_parent(parent: int) -> None:
    """Make the kernel kill this process when its parent ends (Linux); exit if the parent has already ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(0)


if __name__ == "__main__":
    poll(Settings.read(), int(sys.argv[1]))
