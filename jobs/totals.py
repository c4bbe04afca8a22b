"""Totals over all forecasts: numbers by status, length of the queue, durations, bytes stored."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from jobs.rows.clock import now
from jobs.rows.states import OPEN, Data, Status
from jobs.rows.tables import forecasts

_MODEL = forecasts.c.request["checkpoint"].as_string().label("model")


@dataclass(frozen=True)
class Durations:
    """A histogram over forecasts of the seconds between two times of their rows; `begin` and `end` are columns."""

    name: str
    help: str
    begin: Any
    end: Any
    buckets: tuple[float, ...] = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0)

    @property
    def bounds(self) -> list[str]:
        """Upper bounds of the buckets, as Prometheus writes them."""
        return [*map(str, self.buckets), "+Inf"]


DURATIONS = (
    Durations(
        "warmcast_job_wait_seconds", "Seconds from acceptance to the start.", forecasts.c.created, forecasts.c.started
    ),
    Durations(
        "warmcast_job_run_seconds", "Seconds from the start to the end.", forecasts.c.started, forecasts.c.finished
    ),
    Durations(
        "warmcast_time_to_first_lead_seconds",
        "Seconds from acceptance to the first complete lead time.",
        forecasts.c.created,
        forecasts.c.first_lead_time,
    ),
)


def count_by_status(connection: Connection) -> list[tuple[str, str, int]]:
    """Return model, status and number of the forecasts that have ended."""
    query = select(_MODEL, forecasts.c.status, func.count()).where(forecasts.c.status.not_in(OPEN))
    rows = connection.execute(query.group_by(_MODEL.name, forecasts.c.status))
    return [(model, status, number) for model, status, number in rows]


def count_queue(connection: Connection) -> tuple[int, int, float]:
    """Return the numbers of waiting and of running forecasts, and the age in seconds of the oldest waiting one."""
    query = select(forecasts.c.status, func.count(), func.min(forecasts.c.created)).where(forecasts.c.status.in_(OPEN))
    rows = {row[0]: row for row in connection.execute(query.group_by(forecasts.c.status))}
    waiting = rows.get(Status.ACCEPTED)
    running = rows.get(Status.RUNNING)
    age = 0.0 if waiting is None else max((connection.scalar(select(now())) or 0.0) - waiting[2], 0.0)
    return (waiting[1] if waiting else 0), (running[1] if running else 0), age


def store_bytes(connection: Connection) -> int:
    """Return the bytes of all ensembles whose data is available."""
    query = select(func.coalesce(func.sum(forecasts.c.store_bytes), 0)).where(forecasts.c.data == Data.AVAILABLE)
    return int(connection.scalar(query) or 0)


def duration_histograms(connection: Connection, kind: Durations) -> dict[str, tuple[list[tuple[str, float]], float]]:
    """Return by model the cumulative counts by upper bound of the buckets, and the sum of the seconds."""
    seconds: ColumnElement[float] = kind.end - kind.begin
    counts = [func.sum(case((seconds <= bound, 1), else_=0)) for bound in kind.buckets]
    query = select(_MODEL, func.sum(seconds), func.count(), *counts).where(kind.begin.is_not(None))
    query = query.where(kind.end.is_not(None)).group_by(_MODEL.name)
    return {
        model: (
            [(bound, float(value)) for bound, value in zip(kind.bounds, [*within, total], strict=True)],
            float(summed),
        )
        for model, summed, total, *within in connection.execute(query)
    }
