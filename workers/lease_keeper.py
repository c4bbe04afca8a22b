"""A thread that renews a worker's leases during a computation, and detects when the computation must stop."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from jobs.dispatching.leases import Lease, is_open, renew
from jobs.errors import LeaseLostError
from jobs.periodic import Periodic
from jobs.rows.database import Database

STALLED = 70
"""Exit code of a worker that ended itself because its computation made no progress."""

_CHECK_SECONDS = 1.0

_log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renew leases every `renew_seconds` while the context is entered; they are not released at its end.

    Between renewals, check whether the forecast is still open, and call `record_heartbeat`. The process exits with
    `STALLED` if `record_progress` has not been called for `stall_seconds`.
    """

    def __init__(
        self,
        database: Database,
        leases: Sequence[Lease],
        *,
        lease_seconds: float,
        renew_seconds: float,
        stall_seconds: float,
        record_heartbeat: Callable[[], None],
    ) -> None:
        self._database, self._leases, self._record_heartbeat = database, leases, record_heartbeat
        self._lease_seconds, self._renew_seconds, self._stall_seconds = lease_seconds, renew_seconds, stall_seconds
        self._progressed = self._renewed = time.monotonic()
        self._lost = threading.Event()
        interval = min(_CHECK_SECONDS, renew_seconds)
        self._checks = Periodic(self._check, interval, "leases", delay_seconds=interval)

    def __enter__(self) -> Self:
        """Start the thread that renews the leases."""
        self._checks.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread; the leases are not released."""
        self._checks.stop()

    def record_progress(self) -> None:
        """Record that the computation progresses; raises `LeaseLostError` if a lease was lost or the forecast ended."""
        self._progressed = time.monotonic()
        if self._lost.is_set():
            raise LeaseLostError

    def _check(self) -> None:
        if self._lost.is_set():
            return
        if time.monotonic() - self._progressed > self._stall_seconds:
            _log.critical("No progress for %g s: this process ends.", self._stall_seconds)
            os._exit(STALLED)
        self._record_heartbeat()
        if time.monotonic() - self._renewed >= self._renew_seconds:
            with self._database.write() as connection:
                held = renew(connection, self._leases, self._lease_seconds)
            self._renewed = time.monotonic()
        else:
            with self._database.read() as connection:
                held = is_open(connection, self._leases[0].forecast_id)
        if not held:
            self._lost.set()
