"""What keeps a worker's leases alive while it works, and tells it when to stop."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.errors import LeaseLostError
from jobs.leases import Lease, is_wanted, renew

STALLED = 70
"""Exit code of a worker that was ended because it did not move."""

_LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Heartbeat:
    """A thread beside the work: renews leases, looks whether the forecast is wanted, watches for stalls."""

    def __init__(
        self, database: Database, leases: Sequence[Lease], lease_seconds: float, every_seconds: float,
        stall_seconds: float, tell_alive: Callable[[], None],
    ) -> None:  # fmt: skip
        self._database, self._leases = database, leases
        self._lease_seconds, self._every_seconds, self._stall_seconds = lease_seconds, every_seconds, stall_seconds
        self._tell_alive = tell_alive
        self._moved = time.monotonic()
        self._over = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; the leases are left as they are."""
        self._over.set()
        self._thread.join()

    def beat(self) -> None:
        """Tell that the work moves on; raises `LeaseLostError` where it is no longer this worker's or not wanted."""
        self._moved = time.monotonic()
        if self._lost.is_set():
            raise LeaseLostError

    def _run(self) -> None:
        renewed = time.monotonic()
        while not self._over.wait(min(_LOOK_SECONDS, self._every_seconds)):
            if time.monotonic() - self._moved > self._stall_seconds:
                _log.critical("Nothing has moved for %g s: this process ends.", self._stall_seconds)
                os._exit(STALLED)
            try:
                self._tell_alive()
                if time.monotonic() - renewed >= self._every_seconds:
                    held = renew(self._database, self._leases, self._lease_seconds)
                    renewed = time.monotonic()
                else:
                    held = is_wanted(self._database, self._leases[0].forecast_id)
            except SQLAlchemyError as error:
                _log.warning("The database was not reached, leases were not renewed: %s", error)
                continue
            if not held:
                self._lost.set()
                return
