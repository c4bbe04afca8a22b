"""Totals over all forecasts, from counters: numbers by status, length of the queue, durations, bytes stored."""

from dataclasses import dataclass
from itertools import accumulate

from sqlalchemy import Connection, func, select

from jobs.rows.clock import now
from jobs.rows.states import Status
from jobs.rows.tables import ended, forecasts, usage


@dataclass(frozen=True)
class Durations:
    """A histogram over forecasts of the seconds between two times of their rows; `counter` is its name in `ended`."""

    name: str
    help: str
    counter: str
    buckets: tuple[float, ...] = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0)

    @property
    def bounds(self) -> list[str]:
        """Upper bounds of the buckets, as Prometheus writes them."""
        return [*map(str, self.buckets), "+Inf"]


DURATIONS = (
    Durations("warmcast_job_wait_seconds", "Seconds from acceptance to the start.", "wait"),
    Durations("warmcast_job_run_seconds", "Seconds from the start to the end.", "run"),
    Durations(
        "warmcast_time_to_first_lead_seconds",
        "Seconds from acceptance to the first complete lead time.",
        "first_lead_time",
    ),
)


def count_by_status(connection: Connection) -> list[tuple[str, str, int]]:
    """Return (model, status, number) of the forecasts that have ended, an entry for each model and status."""
    query = select(ended.c.model, ended.c.bucket, func.sum(ended.c.number)).where(ended.c.name == "status")
    rows = connection.execute(query.group_by(ended.c.model, ended.c.bucket))
    return [(model, status, int(number)) for model, status, number in rows]


def count_queue(connection: Connection) -> tuple[int, int, float]:
    """Return the numbers of waiting and of running forecasts, and the age in seconds of the oldest waiting one.

    The age is 0 if none waits.
    """
    waiting, running = connection.execute(select(func.sum(usage.c.waiting), func.sum(usage.c.running))).one()
    oldest = select(func.min(forecasts.c.created)).where(forecasts.c.status == Status.ACCEPTED).scalar_subquery()
    age = connection.scalar(select(now() - oldest))
    return int(waiting or 0), int(running or 0), max(age or 0.0, 0.0)


def store_bytes(connection: Connection) -> int:
    """Return the bytes of all ensembles whose data is available."""
    return int(connection.scalar(select(func.sum(usage.c.store_bytes))) or 0)


def duration_histograms(connection: Connection, kind: Durations) -> dict[str, tuple[list[tuple[str, float]], float]]:
    """Return each model's histogram of the seconds of `kind`: (upper bound, cumulative count) pairs, and their sum.

    Only forecasts whose times of begin and end are both known are counted.
    """
    query = select(ended.c.model, ended.c.bucket, func.sum(ended.c.number), func.sum(ended.c.seconds))
    counted: dict[str, dict[str, tuple[int, float]]] = {}
    for model, bound, number, seconds in connection.execute(
        query.where(ended.c.name == kind.counter).group_by(ended.c.model, ended.c.bucket)
    ):
        counted.setdefault(model, {})[bound] = int(number), float(seconds)
    return {model: _histogram(kind, buckets) for model, buckets in counted.items()}


def _histogram(kind: Durations, buckets: dict[str, tuple[int, float]]) -> tuple[list[tuple[str, float]], float]:
    numbers = accumulate(float(buckets.get(bound, (0, 0.0))[0]) for bound in kind.bounds)
    return list(zip(kind.bounds, numbers, strict=True)), sum(seconds for _, seconds in buckets.values())
