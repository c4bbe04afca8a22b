"""Further lanes of a worker process: forecasts that are computed beside another one, which does not fill the device."""

import logging
import threading
from collections.abc import Sequence
from contextvars import copy_context
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from storage.errors import InstallationError
from workers.device import side_stream
from workers.loop import Worker

_RELEASE_SECONDS = 5.0
"""Time in which a worker that gives up releases its work, if the step that it computes ends in it."""

_log = logging.getLogger(__name__)


class Lanes:
    """Threads that each run a worker, until the context is left; on a GPU each of them has a stream of its own."""

    def __init__(self, workers: Sequence[Worker], poll_seconds: float) -> None:
        self._workers, self._poll_seconds = workers, poll_seconds
        self._ending = threading.Event()
        run = copy_context().run
        self._threads = [
            threading.Thread(target=run, args=(self._poll, worker), name=f"lane-{number}", daemon=True)
            for number, worker in enumerate(workers, 1)
        ]

    def __enter__(self) -> Self:
        """Start the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers and wait until they have; after an exception they give up the lead time they compute."""
        self._ending.set()
        for worker in self._workers:
            worker.stop()
        try:
            if error is None:
                self._join(None)
        finally:  # also if the main thread is interrupted meanwhile
            for worker in self._workers:
                worker.give_up()
            self._join(_RELEASE_SECONDS)

    def _join(self, seconds: float | None) -> None:
        for thread in self._threads:
            thread.join(seconds)

    def _poll(self, worker: Worker) -> None:
        with side_stream(worker.device):
            while not self._ending.wait(self._poll_seconds):
                try:
                    while worker.run():
                        pass
                except SystemExit:
                    return
                except (SQLAlchemyError, OSError, InstallationError) as error:
                    _log.warning("The database cannot be used: %s", error)
