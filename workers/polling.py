"""A worker that looks into the table itself: `python -m workers.polling`, started by the supervisor."""

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
from workers.runtime import Runtime

_PR_SET_PDEATHSIG = 1

_log = logging.getLogger(__name__)


def poll(settings: Settings, parent: int | None = None) -> None:
    """Work until stopped; a parent that dies takes this process with it."""
    signal.signal(signal.SIGTERM, _stop)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if parent is not None:
        _die_with(parent)
    database = Database(settings.url)
    database.migrate()
    runtime = Runtime(settings, database)
    while True:
        try:
            busy = runtime.run()
        except SQLAlchemyError as error:
            _log.warning("The database was not reached: %s", error)
            busy = False
        if not busy:
            time.sleep(settings.poll_seconds)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _die_with(parent: int) -> None:
    """End this process, at once, when the parent ends; where the system knows how."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(0)


if __name__ == "__main__":
    poll(Settings.read(), int(sys.argv[1]))
