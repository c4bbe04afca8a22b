"""What metrics tell of schedules: late and failed runs, the next run, and the newest analyses.

Names of schedules are labels only for those of the configuration, of which there are few; all others of a data set are
counted together.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from jobs.rows.schedule_tables import schedule_runs, schedules
from jobs.rows.states import RunState, ScheduleState, Status
from jobs.rows.tables import forecasts
from jobs.schedule_runs import read_clock

OUTCOMES = (
    *("submitted", "refused", "failed", "skipped", "missed"),
    *("verified", "verification_failed", "verification_missed", "verification_skipped"),
)
"""What the metrics count: ends of runs and verifications, and submissions that were refused and are repeated."""
FAILED_SECONDS = 86_400
"""Seconds for which a run that ended without a successful forecast counts as failed."""


@dataclass
class Figures:
    """Figures of the active schedules of one data set, or of one of them."""

    late: int = 0
    failed: int = 0
    next_cycle: int | None = None


def read_figures(connection: Connection) -> dict[tuple[str, str], Figures]:
    """Return the figures by data set and name, which is empty for schedules that the configuration does not set."""
    time, figures = read_clock(connection), dict[tuple[str, str], Figures]()
    keys: dict[str, tuple[str, str]] = {}
    columns = (schedules.c[name] for name in ("id", "name", "source", "dataset", "next_cycle"))
    for row in connection.execute(select(*columns).where(schedules.c.state == ScheduleState.ACTIVE)):
        key = keys[row.id] = row.dataset, row.name if row.source == "file" else ""
        of_key = figures.setdefault(key, Figures())
        cycles = [cycle for cycle in (of_key.next_cycle, row.next_cycle) if cycle is not None]
        of_key.next_cycle = min(cycles, default=None)
    c = schedule_runs.c
    late = select(c.schedule_id).join(schedules, schedules.c.id == c.schedule_id)
    is_late = c.begins + 3600 * schedules.c.late_hours <= time
    for schedule_id in connection.scalars(late.where(c.state == RunState.WAITING, is_late)):
        if schedule_id in keys:
            figures[keys[schedule_id]].late += 1
    failed = select(c.schedule_id).join(forecasts, forecasts.c.id == c.forecast_id, isouter=True)
    is_failed = or_(c.state.in_((RunState.FAILED, RunState.MISSED)), forecasts.c.status == Status.FAILED)
    for schedule_id in connection.scalars(failed.where(c.finished > time - FAILED_SECONDS, is_failed)):
        if schedule_id in keys:
            figures[keys[schedule_id]].failed += 1
    return figures
