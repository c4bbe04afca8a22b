"""Share the member groups of a forecast among workers; a group changes its worker only between two lead times.

A worker that finds no work is marked as idle for a moment. A working one checks between two lead times whether another
worker is idle: if so, it keeps its fair share and releases the rest, which the idle worker claims at its next poll.
Groups that no idle worker claims are claimed back by a worker of the same forecast, which computes their missing lead
times before it continues its other groups.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Integer, and_, bindparam, func, select

from jobs.dispatching.fairness import CURRENT_STATUS, RUNNABLE
from jobs.dispatching.live_workers import count_idle_workers, count_live_workers
from jobs.rows.clock import now
from jobs.rows.states import OPEN, Kind, Status
from jobs.rows.tables import forecasts, work

_UNFINISHED = (
    work.c.forecast_id == bindparam("of_forecast"),
    work.c.kind == Kind.GROUP,
    work.c.done.is_(False),
)
_LEASED = (work.c.done.is_(False), work.c.worker.is_not(None), work.c.lease_until >= now())
_HOLDERS = select(work.c.worker).where(*_UNFINISHED, *_LEASED)
_COUNT_FREE = select(func.count()).select_from(work.join(forecasts)).where(forecasts.c.status.in_(OPEN), RUNNABLE)
_COUNT_FREE_GROUPS = _COUNT_FREE.where(*_UNFINISHED)
_OF_RUNNING = and_(forecasts.c.status == Status.RUNNING, CURRENT_STATUS == Status.RUNNING)
_WAITING = select(forecasts.c.id).where(forecasts.c.status == Status.ACCEPTED, CURRENT_STATUS == Status.ACCEPTED)
_COUNT_WAITING = select(func.count()).select_from(_WAITING.limit(bindparam("at_most", type_=Integer)).subquery())


def fair_share(held: int, free: int, others: Sequence[int], idle: int) -> int:
    """Return the number of unfinished groups that a worker should hold.

    `held` groups are held by this worker, `others` by each other worker of the forecast, `free` by none; `idle` workers
    wait for work. The share is an equal part among the workers of the forecast and the idle ones, rounded up, so that
    two workers never pass the same group back and forth. It exceeds `held` by at most `free`, and not at all if the
    worker holds some and others are idle: the idle workers claim the free groups.
    """
    equal = -(-(held + free + sum(others)) // (1 + len(others) + idle))
    if equal > held and held and idle:
        return held
    return min(equal, held + free)


@dataclass(frozen=True)
class GroupCounts:
    """Unfinished groups of a forecast: `held` by one worker, `others` by each other worker, `free` by none.

    `idle` is the number of other workers that wait for work.
    """

    held: int
    free: int
    others: tuple[int, ...]
    idle: int

    @property
    def fair_share(self) -> int:
        """Number of groups that the worker should hold."""
        return fair_share(self.held, self.free, self.others, self.idle)


def count_groups(connection: Connection, forecast_id: str, worker: str, max_attempts: int) -> GroupCounts:
    """Count the unfinished groups of a forecast by holder, from the point of view of one worker."""
    of_forecast = {"of_forecast": forecast_id}
    by_holder = Counter(connection.scalars(_HOLDERS, of_forecast))
    held = by_holder.pop(worker, 0)
    free = connection.scalar(_COUNT_FREE_GROUPS, of_forecast | {"max_attempts": max_attempts})
    return GroupCounts(held, free or 0, tuple(by_holder.values()), count_idle_workers(connection, except_for=worker))


def should_rebalance(connection: Connection, forecast_id: str, worker: str, max_attempts: int) -> bool:
    """Return whether the number of groups of a forecast that a worker holds differs from its fair share."""
    counts = count_groups(connection, forecast_id, worker, max_attempts)
    return counts.fair_share != counts.held


def may_receive_groups(connection: Connection, worker: str) -> bool:
    """Return whether an idle worker can expect that another worker will release groups for it."""
    query = (
        select(work.c.forecast_id, work.c.worker, func.count())
        .join(forecasts)
        .where(_OF_RUNNING, work.c.kind == Kind.GROUP, *_LEASED)
        .group_by(work.c.forecast_id, work.c.worker)
    )
    by_forecast: dict[str, list[int]] = {}
    for forecast_id, _, number in connection.execute(query):
        by_forecast.setdefault(forecast_id, []).append(number)
    idle = 1 + count_idle_workers(connection, except_for=worker)
    return any(
        fair_share(held, 0, [*numbers[:index], *numbers[index + 1 :]], idle) < held
        for numbers in by_forecast.values()
        for index, held in enumerate(numbers)
    )


def count_needed_workers(connection: Connection, max_attempts: int) -> int:
    """Return how many live workers have work to claim now; at least 1 if any work is free.

    Work to claim is a free row, or a group that a worker holding several can release.
    """
    live = max(count_live_workers(connection), 1)
    if connection.scalar(_COUNT_WAITING, {"at_most": live}) == live:
        return live
    leased = select(func.count(), func.count(work.c.worker.distinct())).join(forecasts).where(_OF_RUNNING, *_LEASED)
    free = connection.scalar(_COUNT_FREE, {"max_attempts": max_attempts}) or 0
    rows, holders = connection.execute(leased).one()
    return min(free + rows - holders, live)
