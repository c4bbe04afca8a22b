"""What looks after work that no message speaks of: pokes what is runnable, fails what kills its workers."""

from sqlalchemy import and_, or_, select

from jobs.clock import now
from jobs.database import Database
from jobs.deadlines import fail_overdue
from jobs.dispatch import Dispatcher
from jobs.leases import fail_forecast
from jobs.sharing import count_needed_workers
from jobs.states import OPEN
from jobs.tables import forecasts, work

WORKER_LOST = "worker-lost"


def reconcile(database: Database, dispatcher: Dispatcher, max_attempts: int) -> int:
    """Fail what is late or kills its workers, poke as many workers as have something to do, and return how many."""
    fail_overdue(database)
    fail_exhausted(database, max_attempts)
    useful = count_needed_workers(database, max_attempts)
    dispatcher.notify(useful)
    return useful


def fail_exhausted(database: Database, max_attempts: int) -> None:
    """Fail every forecast that has work begun `max_attempts` times without progress, and nobody at it."""
    spent = and_(
        work.c.done.is_(False),
        work.c.attempts >= max_attempts,
        or_(work.c.lease_until.is_(None), work.c.lease_until < now()),
        forecasts.c.status.in_(OPEN),
    )
    with database.read() as connection:
        lost = connection.execute(select(work.c.forecast_id, work.c.attempts).join(forecasts).where(spent)).all()
    for forecast_id, attempts in lost:
        detail = f"Its worker ended {attempts} times without finishing a lead time. Its complete lead times are kept."
        with database.write() as connection:
            fail_forecast(connection, forecast_id, {"type": WORKER_LOST, "detail": detail, "retryable": True})
