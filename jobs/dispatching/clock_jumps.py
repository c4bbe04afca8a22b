"""Detect that the database's clock was set back, and end what would otherwise last until it has caught up."""

import logging
import time

from sqlalchemy import Connection, select, update

from jobs.rows.clock import now
from jobs.rows.database import Database
from jobs.rows.tables import work, workers

_TOLERANCE_SECONDS = 2.0

_log = logging.getLogger(__name__)


class ClockWatch:
    """Compare the database's clock with the monotonic clock of this process, which nobody sets.

    If the clock is set forward, leases end early: work is claimed again, and nothing is lost. If it is set back, leases
    and pauses of a process that has ended meanwhile would last longer by that time.
    """

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database, self._lease_seconds = database, lease_seconds
        self._ahead: float | None = None

    def check(self) -> None:
        """Shorten leases, pauses and heartbeats of the future; at the first call, and when the clock was set back."""
        with self._database.read() as connection:
            ahead = (connection.scalar(select(now())) or 0.0) - time.monotonic()
        previous, self._ahead = self._ahead, ahead
        if previous is None or ahead < previous - _TOLERANCE_SECONDS:
            if previous is not None:
                _log.warning("The clock of the database was set back by %.0f s.", previous - ahead)
            with self._database.write() as connection:
                self._shorten(connection)

    def _shorten(self, connection: Connection) -> None:
        """Let no lease, pause or heartbeat end later than one that begins now; live workers renew theirs."""
        latest = now() + self._lease_seconds
        connection.execute(
            update(work).where(work.c.done.is_(False), work.c.lease_until > latest).values(lease_until=latest)
        )
        connection.execute(update(workers).where(workers.c.seen > now()).values(seen=now(), idle_until=None))
