"""The newest analysis of each data set that schedules use, looked up by one process at a time."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from jobs.rows.schedule_tables import dataset_polls, schedules
from jobs.rows.states import ScheduleState
from jobs.schedule_runs import read_clock

POLL_SECONDS = 60.0
"""Seconds between two looks for the newest analysis of a data set."""


@dataclass(frozen=True)
class Poll:
    """The newest initial time of a data set, None if it is unknown, and why the last look for it failed.

    `late_hours` are the fewest after which one of its schedules is late.
    """

    dataset: str
    newest: int | None
    error: str | None
    late_hours: float


def find_due_polls(connection: Connection) -> list[str]:
    """Return the data sets of schedules with cycles to come that were looked at longer ago than `POLL_SECONDS`."""
    time = read_clock(connection)
    query = select(schedules.c.dataset, dataset_polls.c.polled).distinct()
    query = query.join(dataset_polls, dataset_polls.c.name == schedules.c.dataset, isouter=True)
    query = query.where(schedules.c.state == ScheduleState.ACTIVE, schedules.c.next_cycle.is_not(None))
    return sorted(
        row.dataset for row in connection.execute(query) if row.polled is None or row.polled <= time - POLL_SECONDS
    )


def claim_poll(connection: Connection, dataset: str) -> bool:
    """Return whether this process may look at a data set now."""
    time = read_clock(connection)
    row = dataset_polls.c.name == dataset
    if connection.scalar(select(dataset_polls.c.name).where(row)) is None:
        try:
            with connection.begin_nested():
                connection.execute(insert(dataset_polls).values(name=dataset, polled=time))
        except IntegrityError:
            return False
        return True
    change = update(dataset_polls).where(row, dataset_polls.c.polled <= time - POLL_SECONDS)
    return bool(connection.execute(change.values(polled=time)).rowcount)


def save_poll(connection: Connection, dataset: str, newest: int | None, error: str | None = None) -> None:
    """Store the newest initial time of a data set; after an error the one before is kept."""
    values: dict[str, object] = {"error": error} | ({} if newest is None else {"newest": newest})
    connection.execute(update(dataset_polls).where(dataset_polls.c.name == dataset).values(**values))


def read_newest(connection: Connection) -> dict[str, int]:
    """Return the newest initial times that are known, by data set."""
    query = select(dataset_polls.c.name, dataset_polls.c.newest).where(dataset_polls.c.newest.is_not(None))
    return {row.name: row.newest for row in connection.execute(query)}


def list_polls(connection: Connection) -> list[Poll]:
    """Return what is known of the data sets of schedules with cycles to come."""
    of_dataset = schedules.c.dataset == dataset_polls.c.name
    is_used = (schedules.c.state == ScheduleState.ACTIVE) & schedules.c.next_cycle.is_not(None)
    late = func.min(schedules.c.late_hours).label("late_hours")
    columns = [dataset_polls.c[name] for name in ("name", "newest", "error")]
    query = select(*columns, late).join(schedules, of_dataset).where(is_used).group_by(*columns)
    rows = connection.execute(query.order_by(dataset_polls.c.name))
    return [Poll(row.name, row.newest, row.error, row.late_hours) for row in rows]
