"""Whose turn it is: which forecast the next free worker goes to."""

from sqlalchemy import Connection, Select, and_, bindparam, case, func, or_, select

from jobs.clock import now
from jobs.states import OPEN, Priority, Status
from jobs.tables import forecasts, work

STATUS_NOW = case((forecasts.c.deadline < now(), str(Status.FAILED)), else_=forecasts.c.status)
"""Past its deadline a forecast counts as failed, also before its row says so: nothing of it is begun or committed."""


RUNNABLE = and_(
    work.c.done.is_(False),
    work.c.attempts < bindparam("max_attempts"),
    or_(work.c.lease_until.is_(None), work.c.lease_until < now()),
    STATUS_NOW.in_(OPEN),
)
"""The condition, on work joined with forecasts, that a row may be taken now."""


def _turns() -> Select[str]:
    """Return the forecasts with free work in the order of `next_forecast`."""
    of_owner = forecasts.alias()
    theirs = of_owner.c.owner == forecasts.c.owner
    running = select(func.count()).where(theirs, of_owner.c.status == Status.RUNNING).scalar_subquery()
    last_start = select(func.coalesce(func.max(of_owner.c.started), 0.0)).where(theirs).scalar_subquery()
    has_free = select(work.c.id).where(work.c.forecast_id == forecasts.c.id, RUNNABLE).exists()
    ranks = {priority: rank for rank, priority in enumerate((Priority.HIGH, Priority.NORMAL, Priority.LOW))}
    query = select(forecasts.c.id).where(forecasts.c.status.in_(OPEN), has_free)
    return query.order_by(
        case((forecasts.c.status == Status.RUNNING, 0), else_=1),
        case(ranks, value=forecasts.c.priority),
        running,
        last_start,
        forecasts.c.created,
        forecasts.c.id,
    )


_NEXT = _turns().limit(1)


def next_forecast(connection: Connection, max_attempts: int) -> str | None:
    """Return the id of the forecast whose free work is taken next; None where nothing is free.

    What has begun goes on first. Of those that wait, the highest priority comes first; then the owner with the fewest
    forecasts running, then the one whose last start is longest ago; then the oldest forecast.
    """
    return connection.scalar(_NEXT, {"max_attempts": max_attempts})
