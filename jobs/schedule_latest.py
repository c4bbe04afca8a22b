"""What is known of schedules beyond their rows: the newest forecast, late runs, and old runs that are removed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, func, select

from jobs.rows.clock import time_of_query
from jobs.rows.schedule_tables import schedule_runs, schedules
from jobs.rows.states import Data, RunState, Status, VerificationState
from jobs.rows.tables import forecasts
from jobs.schedule_runs import RunRecord, list_runs, read_clock


@dataclass(frozen=True)
class Progress:
    """The runs of a schedule in short: their number by state, those that are late, and the newest one."""

    counts: dict[RunState, int] = field(default_factory=dict)
    num_late: int = 0
    newest: RunRecord | None = None


def find_latest(connection: Connection, schedule_id: str) -> str | None:
    """Return the id of the successful forecast of the newest cycle whose data is available, or None."""
    query = select(forecasts.c.id).join(schedule_runs, schedule_runs.c.forecast_id == forecasts.c.id)
    query = query.where(schedule_runs.c.schedule_id == schedule_id, forecasts.c.status == Status.SUCCESSFUL)
    query = query.where(forecasts.c.data == Data.AVAILABLE).order_by(schedule_runs.c.init_time.desc()).limit(1)
    return connection.scalar(query)


def read_progress(connection: Connection, schedule_ids: Sequence[str]) -> dict[str, Progress]:
    """Return how far schedules are, by their ids."""
    time, c = read_clock(connection), schedule_runs.c
    counts: dict[str, dict[RunState, int]] = {schedule_id: {} for schedule_id in schedule_ids}
    query = select(c.schedule_id, c.state, func.count().label("number")).where(c.schedule_id.in_(schedule_ids))
    for row in connection.execute(query.group_by(c.schedule_id, c.state)):
        counts[row.schedule_id][RunState(row.state)] = row.number
    late = select(c.schedule_id, func.count().label("number")).join(schedules, schedules.c.id == c.schedule_id)
    is_late = c.begins + 3600 * schedules.c.late_hours <= time
    late = late.where(c.schedule_id.in_(schedule_ids), c.state == RunState.WAITING, is_late).group_by(c.schedule_id)
    num_late = {row.schedule_id: row.number for row in connection.execute(late)}
    return {
        schedule_id: Progress(
            counts[schedule_id],
            num_late.get(schedule_id, 0),
            next(iter(list_runs(connection, schedule_id, 1)), None),
        )
        for schedule_id in schedule_ids
    }


def delete_old_runs(connection: Connection, days: float) -> None:
    """Delete runs that ended longer ago than so many days and whose verification has ended too."""
    is_old = schedule_runs.c.finished < time_of_query() - days * 86400
    connection.execute(delete(schedule_runs).where(is_old, schedule_runs.c.verification != VerificationState.WAITING))
