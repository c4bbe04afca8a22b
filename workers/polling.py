"""Run a worker that polls the database for work: `python -m workers.polling PARENT`, started by the supervisor."""

import ctypes
import logging
import os
import signal
import sys
import time
from types import FrameType

from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.settings import Settings
from workers.loop import Worker

_PR_SET_PDEATHSIG = 1

_log = logging.getLogger(__name__)


def poll(settings: Settings, parent: int | None = None) -> None:
    """Claim and compute work until stopped; the process also ends when the process `parent` ends."""
    signal.signal(signal.SIGTERM, _stop)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if parent is not None:
        _die_with(parent)
    database = Database(settings.url)
    database.migrate()
    worker = Worker(settings, database)
    while True:
        try:
            busy = worker.run()
        except SQLAlchemyError as error:
            _log.warning("The database is not reachable: %s", error)
            busy = False
        if not busy:
            time.sleep(settings.poll_seconds)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _die_with(parent: int) -> None:
    """Make the kernel kill this process when its parent ends (Linux); exit if the parent has already ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(0)


if __name__ == "__main__":
    poll(Settings.read(), int(sys.argv[1]))
