"""The order of the queue: from which forecast the next free worker claims work."""

from sqlalchemy import Connection, Select, and_, bindparam, case, func, or_, select

from jobs.rows.clock import now
from jobs.rows.states import OPEN, Priority, Status
from jobs.rows.tables import forecasts, work

CURRENT_STATUS = case((forecasts.c.deadline < now(), str(Status.FAILED)), else_=forecasts.c.status)
"""Status of a forecast; failed also if its deadline has passed and its row has not been updated yet.

No work of such a forecast is claimed or committed.
"""


RUNNABLE = and_(
    work.c.done.is_(False),
    work.c.attempts < bindparam("max_attempts"),
    or_(work.c.lease_until.is_(None), work.c.lease_until < now()),
    CURRENT_STATUS.in_(OPEN),
)
"""Condition on work joined with forecasts: the row can be claimed now."""


def _query_in_order() -> Select[str]:
    """Return the query of forecasts with free work, in the order of `next_forecast`."""
    of_owner = forecasts.alias()
    same_owner = of_owner.c.owner == forecasts.c.owner
    running = select(func.count()).where(same_owner, of_owner.c.status == Status.RUNNING).scalar_subquery()
    last_start = select(func.coalesce(func.max(of_owner.c.started), 0.0)).where(same_owner).scalar_subquery()
    has_free_work = select(work.c.id).where(work.c.forecast_id == forecasts.c.id, RUNNABLE).exists()
    ranks = {priority: rank for rank, priority in enumerate((Priority.HIGH, Priority.NORMAL, Priority.LOW))}
    query = select(forecasts.c.id).where(forecasts.c.status.in_(OPEN), has_free_work)
    return query.order_by(
        case((forecasts.c.status == Status.RUNNING, 0), else_=1),
        case(ranks, value=forecasts.c.priority),
        running,
        last_start,
        forecasts.c.created,
        forecasts.c.id,
    )


_NEXT = _query_in_order().limit(1)


def next_forecast(connection: Connection, max_attempts: int) -> str | None:
    """Return the id of the forecast whose free work is claimed next, or None if no work is free.

    Running forecasts come before waiting ones. Waiting forecasts are ordered by priority; then by the number of running
    forecasts of their owner, fewest first; then by their owner's last start, earliest first; then by age, oldest first.
    """
    return connection.scalar(_NEXT, {"max_attempts": max_attempts})
