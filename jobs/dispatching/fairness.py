"""The order of the queue: from which forecast the next free worker claims work."""

import heapq
import itertools
from collections import deque
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, case, func, or_, select

from jobs.rows.clock import now
from jobs.rows.states import OPEN, Priority, Status
from jobs.rows.tables import forecasts, usage, work

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


_RANKS = {priority: rank for rank, priority in enumerate((Priority.HIGH, Priority.NORMAL, Priority.LOW))}


def _order() -> tuple[ColumnElement[Any], ...]:
    """Return the order of `next_forecast` among forecasts joined with the usage of their owners."""
    rank = case(_RANKS, value=forecasts.c.priority)
    return rank, usage.c.running, usage.c.last_started, forecasts.c.created, forecasts.c.id


def _query_running() -> Select[str]:
    """Return the query of the next running forecast with free work; it reads running forecasts only."""
    has_free_work = select(work.c.id).where(work.c.forecast_id == forecasts.c.id, RUNNABLE).exists()
    query = select(forecasts.c.id).join(usage, usage.c.owner == forecasts.c.owner)
    return query.where(forecasts.c.status == Status.RUNNING, has_free_work).order_by(*_order()).limit(1)


def _query_waiting() -> Select[str]:
    """Return the query of the next waiting forecast; it reads the first one of each owner only."""
    waiting = forecasts.alias()
    first = select(waiting.c.id).where(waiting.c.owner == usage.c.owner, waiting.c.status == Status.ACCEPTED)
    first = first.where(or_(waiting.c.deadline.is_(None), waiting.c.deadline >= now()))
    first = first.order_by(waiting.c.created, waiting.c.id).limit(1)
    by_priority = [first.where(waiting.c.priority == priority).scalar_subquery() for priority in _RANKS]
    query = select(forecasts.c.id).select_from(usage).join(forecasts, forecasts.c.id == func.coalesce(*by_priority))
    return query.where(usage.c.waiting > 0).order_by(*_order()).limit(1)


_RUNNING, _WAITING = _query_running(), _query_waiting()


def next_forecast(connection: Connection, max_attempts: int) -> str | None:
    """Return the id of the forecast whose free work is claimed next, or None if no work is free.

    Running forecasts come before waiting ones. Waiting forecasts are ordered by priority; then by the number of running
    forecasts of their owner, fewest first; then by their owner's last start, earliest first; then by age, oldest first.
    The time that this takes depends on the number of running forecasts and of owners, not on how many wait.
    """
    return connection.scalar(_RUNNING, {"max_attempts": max_attempts}) or connection.scalar(_WAITING)


def list_waiting(connection: Connection) -> list[str]:
    """Return the ids of all waiting forecasts in the order of `next_forecast`, as if none ended in the meantime.

    Forecasts of one priority are started one after the other: each start counts as one of its owner's running
    forecasts, and as its last start.
    """
    columns = forecasts.c.id, forecasts.c.owner, forecasts.c.priority
    usable = or_(forecasts.c.deadline.is_(None), forecasts.c.deadline >= now())
    query = select(*columns, forecasts.c.created, usage.c.running, usage.c.last_started)
    query = query.join(usage, usage.c.owner == forecasts.c.owner).where(forecasts.c.status == Status.ACCEPTED, usable)
    queues: dict[tuple[int, str], deque[tuple[float, str]]] = {}
    state: dict[str, tuple[int, float]] = {}
    for row in connection.execute(query.order_by(forecasts.c.created, forecasts.c.id)):
        queues.setdefault((_RANKS[Priority(row.priority)], row.owner), deque()).append((row.created, row.id))
        state[row.owner] = row.running, row.last_started
    order: list[str] = []
    starts = itertools.count(max((last for _, last in state.values()), default=0.0) + 1.0)
    for rank in sorted({rank for rank, _ in queues}):
        heads = [(*state[owner], *queue[0], owner) for (of, owner), queue in queues.items() if of == rank]
        heapq.heapify(heads)
        while heads:
            running, _, _, forecast_id, owner = heads[0]
            order.append(forecast_id)
            state[owner] = running + 1, next(starts)
            queue = queues[rank, owner]
            queue.popleft()
            if queue:
                heapq.heapreplace(heads, (*state[owner], *queue[0], owner))
            else:
                heapq.heappop(heads)
    return order
