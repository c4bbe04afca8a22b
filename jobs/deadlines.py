"""What ends a forecast that took longer than its caller waits for."""

from sqlalchemy import select

from jobs.clock import now
from jobs.database import Database
from jobs.leases import fail_forecast
from jobs.states import OPEN
from jobs.tables import forecasts

DEADLINE_PASSED = "deadline-passed"


def fail_overdue(database: Database) -> None:
    """Fail every forecast that has not ended by its deadline; its lead times are kept."""
    overdue = select(forecasts.c.id, forecasts.c.request).where(
        forecasts.c.status.in_(OPEN), forecasts.c.deadline < now()
    )
    with database.read() as connection:
        late = connection.execute(overdue).all()
    for row in late:
        detail = (
            f"It had not ended {row.request['deadline_seconds']:g} s after it was accepted, its `deadline_seconds`. "
            "Its complete lead times are kept."
        )
        with database.write() as connection:
            fail_forecast(connection, row.id, {"type": DEADLINE_PASSED, "detail": detail, "retryable": True})
