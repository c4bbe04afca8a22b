"""Which workers are alive, and what they have counted: rows that each worker keeps fresh."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Float, bindparam, delete, func, insert, or_, select, update

from jobs.clock import now
from jobs.database import Database
from jobs.measures import METRICS, Sample
from jobs.planning import Machine
from jobs.tables import samples as sample_rows
from jobs.tables import workers

FRESH_SECONDS = 30.0
_FORGOTTEN_SECONDS = 86400.0
_GONE = ""
"""Name that the counts of forgotten workers are kept under: sums of counters never fall."""

_OF_WORKER = workers.c.id == bindparam("of_worker")
_REST = (
    update(workers)
    .where(
        _OF_WORKER,
        or_(workers.c.idle_until.is_(None), workers.c.idle_until < now() + bindparam("seconds", type_=Float) / 2),
    )
    .values(idle_until=now() + bindparam("seconds", type_=Float))
)
_BUSY = update(workers).where(_OF_WORKER, workers.c.idle_until.is_not(None)).values(idle_until=None)
_COUNT_IDLE = select(func.count()).where(workers.c.idle_until > now(), workers.c.id != bindparam("besides"))


@dataclass(frozen=True)
class Worker:
    """A worker that told that it is alive in the last 30 s."""

    id: str
    device: str
    machine: Machine | None


def record_heartbeat(
    database: Database, name: str, device: str, counted: Mapping[Sample, float], machine: Machine | None = None
) -> None:
    """Tell that a worker is alive and what it has counted; workers not seen for a day are forgotten."""
    kind, threads = (machine.device, machine.threads) if machine else (None, None)
    with database.write() as connection:
        known = connection.execute(update(workers).where(workers.c.id == name).values(seen=now()))
        if not known.rowcount:
            row = {"id": name, "device": device, "kind": kind, "threads": threads}
            connection.execute(insert(workers).values(**row, started=now(), seen=now()))
            _forget_old(connection)
        _replace(connection, name, {sample.text: value for sample, value in counted.items()})


def list_live_workers(connection: Connection) -> list[Worker]:
    """Return the workers that told that they are alive in the last 30 s."""
    query = select(workers).where(workers.c.seen > now() - FRESH_SECONDS).order_by(workers.c.id)
    return [
        Worker(row.id, row.device, None if row.kind is None else Machine(row.kind, row.threads))
        for row in connection.execute(query)
    ]


def count_live_workers(database: Database) -> int:
    """Return how many workers are alive."""
    with database.read() as connection:
        return len(list_live_workers(connection))


def mark_idle(connection: Connection, name: str, seconds: float) -> None:
    """Tell that a worker is idle for the next `seconds`, told again once half of them are over; 0 is that it is not."""
    if seconds:
        connection.execute(_REST, {"of_worker": name, "seconds": seconds})
    else:
        connection.execute(_BUSY, {"of_worker": name})


def count_idle_workers(connection: Connection, besides: str) -> int:
    """Return how many workers look for work in vain, one left out."""
    return connection.scalar(_COUNT_IDLE, {"besides": besides}) or 0


def sum_counters(connection: Connection) -> dict[Sample, float]:
    """Return what all workers have counted together, gauges left out."""
    query = select(sample_rows.c.sample, func.sum(sample_rows.c.value)).group_by(sample_rows.c.sample)
    parsed = {Sample.parse(text): float(value) for text, value in connection.execute(query)}
    return {sample: value for sample, value in parsed.items() if not _is_gauge(sample)}


def read_gauges(connection: Connection, worker: str) -> dict[Sample, float]:
    """Return the gauges of one worker."""
    rows = connection.execute(select(sample_rows.c.sample, sample_rows.c.value).where(sample_rows.c.worker == worker))
    parsed = {Sample.parse(text): float(value) for text, value in rows}
    return {sample: value for sample, value in parsed.items() if _is_gauge(sample)}


def _forget_old(connection: Connection) -> None:
    """Fold the counts of workers not seen for a day into one, and remove their rows."""
    old = list(connection.scalars(select(workers.c.id).where(workers.c.seen < now() - _FORGOTTEN_SECONDS)))
    if old:
        theirs = sample_rows.c.worker.in_([*old, _GONE])
        query = select(sample_rows.c.sample, func.sum(sample_rows.c.value)).where(theirs)
        folded = {text: float(value) for text, value in connection.execute(query.group_by(sample_rows.c.sample))}
        connection.execute(delete(sample_rows).where(theirs))
        _replace(
            connection, _GONE, {text: value for text, value in folded.items() if not _is_gauge(Sample.parse(text))}
        )
        connection.execute(delete(workers).where(workers.c.id.in_(old)))


def _replace(connection: Connection, worker: str, values: Mapping[str, float]) -> None:
    connection.execute(delete(sample_rows).where(sample_rows.c.worker == worker))
    if values:
        rows = [{"worker": worker, "sample": text, "value": value} for text, value in values.items()]
        connection.execute(insert(sample_rows), rows)


def _is_gauge(sample: Sample) -> bool:
    return sample.measure in METRICS and METRICS[sample.measure].kind == "gauge"
