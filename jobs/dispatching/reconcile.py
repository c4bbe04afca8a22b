"""Reconcile rows and workers: notify workers of claimable work, fail forecasts that cannot end."""

from sqlalchemy import and_, or_, select

from jobs.dispatching.dispatch import Dispatcher
from jobs.dispatching.leases import fail_forecast
from jobs.dispatching.sharing import count_needed_workers
from jobs.rows.clock import now, time_of_query
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Status
from jobs.rows.tables import forecasts, work

DEADLINE_PASSED, WORKER_LOST = "deadline-passed", "worker-lost"
"""Problem types of the forecasts that this module fails."""


def reconcile(database: Database, dispatcher: Dispatcher, max_attempts: int) -> int:
    """Fail forecasts that are overdue or out of attempts, then notify as many workers as can work; return their number.

    Takes the `Database`, not a `Connection`: each forecast is failed in a transaction of its own, and workers are
    notified after all of them.
    """
    fail_overdue(database)
    fail_exhausted(database, max_attempts)
    with database.read() as connection:
        needed = count_needed_workers(connection, max_attempts)
    dispatcher.notify(needed)
    return needed


def fail_overdue(database: Database) -> None:
    """Fail every forecast that has not ended by its deadline, each in a transaction of its own; lead times are kept."""
    overdue = select(forecasts.c.id, forecasts.c.request).where(
        forecasts.c.status.in_(OPEN), forecasts.c.deadline < time_of_query()
    )
    with database.read() as connection:
        rows = connection.execute(overdue).all()
    for row in rows:
        detail = (
            f"It had not ended {row.request['deadline_seconds']:g} s after it was accepted, its `deadline_seconds`. "
            "Its complete lead times are kept."
        )
        with database.write() as connection:
            fail_forecast(connection, row.id, {"type": DEADLINE_PASSED, "detail": detail, "retryable": True})


def fail_exhausted(database: Database, max_attempts: int) -> None:
    """Fail every forecast with unleased work that was started `max_attempts` times without progress.

    Each is failed in a transaction of its own; its complete lead times are kept.
    """
    exhausted = and_(
        forecasts.c.status == Status.RUNNING,
        work.c.done.is_(False),
        work.c.attempts >= max_attempts,
        or_(work.c.lease_until.is_(None), work.c.lease_until < now()),
    )
    with database.read() as connection:
        rows = connection.execute(select(work.c.forecast_id, work.c.attempts).join(forecasts).where(exhausted)).all()
    for forecast_id, attempts in rows:
        detail = f"Its worker ended {attempts} times without finishing a lead time. Its complete lead times are kept."
        with database.write() as connection:
            fail_forecast(connection, forecast_id, {"type": WORKER_LOST, "detail": detail, "retryable": True})
