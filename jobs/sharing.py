"""How the groups of a forecast are shared among workers: who holds more than its share hands over, between lead times.

A worker that looks for work in vain is idle for a moment. Who works looks between two lead times whether somebody is:
then it keeps its share and hands the rest back, which the other finds when it looks next. What nobody idle takes, who
is at the forecast takes itself, and brings it to where its other groups are before they go on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from jobs.clock import now
from jobs.database import Database
from jobs.fairness import RUNNABLE, STATUS_NOW
from jobs.states import Kind, Status
from jobs.tables import forecasts, work
from jobs.workers import count_idle_workers, list_live_workers

_UNFINISHED = (
    work.c.forecast_id == bindparam("of_forecast"),
    work.c.kind == Kind.GROUP,
    work.c.done.is_(False),
)
_HOLDERS = select(work.c.worker).where(*_UNFINISHED, work.c.worker.is_not(None), work.c.lease_until >= now())
_FREE = select(func.count()).select_from(work.join(forecasts)).where(RUNNABLE)
_FREE_GROUPS = _FREE.where(*_UNFINISHED)


def fair_share(mine: int, free: int, others: Sequence[int], idle: int) -> int:
    """Return how many unfinished groups a worker should hold that holds `mine`, while `others` hold theirs.

    An equal part among those at the forecast and those that are idle, rounded up: then nobody gives and takes in
    turn. More than `mine` only of what is `free`, and who has some leaves that to the idle.
    """
    part = -(-(mine + free + sum(others)) // (1 + len(others) + idle))
    if part > mine and mine and idle:
        return mine
    return min(part, mine + free)


@dataclass(frozen=True)
class GroupCounts:
    """The unfinished groups of a forecast as one worker sees them, and how many other workers are idle."""

    mine: int
    free: int
    others: tuple[int, ...]
    idle: int

    @property
    def share(self) -> int:
        """How many this worker should hold."""
        return fair_share(self.mine, self.free, self.others, self.idle)


def count_groups(connection: Connection, forecast_id: str, worker: str, max_attempts: int) -> GroupCounts:
    """Return who holds the groups of a forecast."""
    of_forecast = {"of_forecast": forecast_id}
    held = Counter(connection.scalars(_HOLDERS, of_forecast))
    mine = held.pop(worker, 0)
    free = connection.scalar(_FREE_GROUPS, of_forecast | {"max_attempts": max_attempts})
    return GroupCounts(mine, free or 0, tuple(held.values()), count_idle_workers(connection, besides=worker))


def should_rebalance(database: Database, forecast_id: str, worker: str, max_attempts: int) -> bool:
    """Return whether a worker holds more or fewer groups of a forecast than it should from now on."""
    with database.read() as connection:
        groups = count_groups(connection, forecast_id, worker, max_attempts)
    return groups.share != groups.mine


def may_receive_groups(database: Database, worker: str) -> bool:
    """Return whether an idle worker may wait for somebody to hand groups over to it."""
    query = (
        select(work.c.forecast_id, work.c.worker, func.count())
        .join(forecasts)
        .where(STATUS_NOW == Status.RUNNING, work.c.kind == Kind.GROUP, work.c.done.is_(False))
        .where(work.c.worker.is_not(None), work.c.lease_until >= now())
        .group_by(work.c.forecast_id, work.c.worker)
    )
    held: dict[str, list[int]] = {}
    with database.read() as connection:
        for forecast_id, _, number in connection.execute(query):
            held.setdefault(forecast_id, []).append(number)
        idle = 1 + count_idle_workers(connection, besides=worker)
    return any(
        fair_share(mine, 0, [*numbers[:index], *numbers[index + 1 :]], idle) < mine
        for numbers in held.values()
        for index, mine in enumerate(numbers)
    )


def count_needed_workers(database: Database, max_attempts: int) -> int:
    """Return how many of the workers that are alive could do something more now, at least 1 where anything is free.

    Something is a row that is free, or a group of a worker that holds several.
    """
    held = (
        select(func.count(), func.count(work.c.worker.distinct()))
        .join(forecasts)
        .where(
            STATUS_NOW == Status.RUNNING,
            work.c.done.is_(False),
            work.c.lease_until >= now(),
            work.c.worker.is_not(None),
        )
    )
    with database.read() as connection:
        free = connection.scalar(_FREE, {"max_attempts": max_attempts}) or 0
        rows, holders = connection.execute(held).one()
        return min(free + rows - holders, max(len(list_live_workers(connection)), 1))
