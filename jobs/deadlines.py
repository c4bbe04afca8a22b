"""Fail forecasts that have not ended by their deadline."""

from sqlalchemy import select

from jobs.clock import now
from jobs.database import Database
from jobs.leases import fail_forecast
from jobs.states import OPEN
from jobs.tables import forecasts

DEADLINE_PASSED = "deadline-passed"


def fail_overdue(database: Database) -> None:
    """Fail every forecast that has not ended by its deadline, each in a transaction of its own; lead times are kept."""
    overdue = select(forecasts.c.id, forecasts.c.request).where(
        forecasts.c.status.in_(OPEN), forecasts.c.deadline < now()
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
