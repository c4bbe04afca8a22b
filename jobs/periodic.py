"""A function that a daemon thread calls at regular intervals."""

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from storage.errors import DataDirectoryError

_log = logging.getLogger(__name__)


class Periodic:
    """Call `function` every `seconds` in a daemon thread, from `start` until `stop`; usable as a context.

    The first call is made after `delay_seconds`. An error of the database, of the file system or of the installation
    is logged, and the next call is made as usual; any other exception ends the thread.
    """

    def __init__(self, function: Callable[[], None], seconds: float, name: str, *, delay_seconds: float = 0.0) -> None:
        self._function, self._seconds, self._delay_seconds = function, seconds, delay_seconds
        self._stopped = threading.Event()
        run = copy_context().run  # the subjects of log lines
        self._thread = threading.Thread(target=run, args=(self._run,), name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current call, and wait for it."""
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> Self:
        """Start the thread."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread."""
        self.stop()

    def _run(self) -> None:
        wait = self._delay_seconds
        while not self._stopped.wait(wait):
            try:
                self._function()
            except (SQLAlchemyError, OSError, DataDirectoryError) as error:
                _log.warning("%s: failed, next try in %g s: %s", self._thread.name, self._seconds, error)
            wait = self._seconds
