"""Live workers: rows that each worker refreshes with its heartbeat, its machine, and the samples of its metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Float, bindparam, delete, func, insert, or_, select, update

from jobs.counters import METRICS, Sample
from jobs.rows.advisory_locks import Lock, lock_until_end
from jobs.rows.clock import now
from jobs.rows.tables import samples as sample_rows
from jobs.rows.tables import workers

LIVE_SECONDS = 30.0
"""Seconds after a worker's last heartbeat for which it counts as live."""
_FORGET_SECONDS = 86400.0
_FORGOTTEN = ""
"""Name under which the counters of all removed workers are summed, so that totals never decrease."""

_OF_WORKER = workers.c.id == bindparam("of_worker")
_SET_IDLE = (
    update(workers)
    .where(
        _OF_WORKER,
        or_(workers.c.idle_until.is_(None), workers.c.idle_until < now() + bindparam("seconds", type_=Float) / 2),
    )
    .values(idle_until=now() + bindparam("seconds", type_=Float))
)
_SET_BUSY = update(workers).where(_OF_WORKER, workers.c.idle_until.is_not(None)).values(idle_until=None)
_COUNT_IDLE = select(func.count()).where(workers.c.idle_until > now(), workers.c.id != bindparam("except_for"))


@dataclass(frozen=True)
class Machine:
    """A kind of device, such as `cpu` or `cuda: NVIDIA H100`, and the number of CPU threads.

    The kind must not be confused with the device itself, such as `cuda:0`.
    """

    device_kind: str
    threads: int


@dataclass(frozen=True)
class Worker:
    """A worker whose last heartbeat is at most 30 s old; `machine` is None for a worker of an early version."""

    id: str
    device: str
    machine: Machine | None


def record_heartbeat(
    connection: Connection, name: str, device: str, samples: Mapping[Sample, float], machine: Machine | None = None
) -> None:
    """Record that a worker is alive, and replace its samples of metrics.

    The first heartbeat of a worker also removes the workers that had none for a day; their counters are kept as a sum.
    """
    kind, threads = (machine.device_kind, machine.threads) if machine else (None, None)
    known = connection.execute(update(workers).where(workers.c.id == name).values(seen=now()))
    if not known.rowcount:
        row = {"id": name, "device": device, "kind": kind, "threads": threads}
        connection.execute(insert(workers).values(**row, started=now(), seen=now()))
        _forget_old_workers(connection)
    _replace_samples(connection, name, {sample.key: value for sample, value in samples.items()})


def list_live_workers(connection: Connection) -> list[Worker]:
    """Return the workers whose last heartbeat is at most 30 s old."""
    query = select(workers).where(workers.c.seen > now() - LIVE_SECONDS).order_by(workers.c.id)
    return [
        Worker(row.id, row.device, None if row.kind is None else Machine(row.kind, row.threads))
        for row in connection.execute(query)
    ]


def count_live_workers(connection: Connection) -> int:
    """Return the number of workers whose last heartbeat is at most 30 s old."""
    return connection.scalar(select(func.count()).where(workers.c.seen > now() - LIVE_SECONDS)) or 0


def mark_idle(connection: Connection, name: str, seconds: float) -> None:
    """Mark a worker as idle for the next `seconds`, unless it is already for half of them; 0 marks it as busy."""
    if seconds:
        connection.execute(_SET_IDLE, {"of_worker": name, "seconds": seconds})
    else:
        mark_busy(connection, name)


def mark_busy(connection: Connection, name: str) -> None:
    """Mark a worker as no longer idle."""
    connection.execute(_SET_BUSY, {"of_worker": name})


def count_idle_workers(connection: Connection, except_for: str) -> int:
    """Return the number of workers that are marked as idle, one worker excluded."""
    return connection.scalar(_COUNT_IDLE, {"except_for": except_for}) or 0


def sum_counters(connection: Connection) -> dict[Sample, float]:
    """Return the value of each sample of counters and histograms, summed over all workers so far."""
    query = select(sample_rows.c.sample, func.sum(sample_rows.c.value)).group_by(sample_rows.c.sample)
    parsed = {Sample.parse(key): float(value) for key, value in connection.execute(query)}
    return {sample: value for sample, value in parsed.items() if not _is_gauge(sample)}


def read_gauges(connection: Connection, worker: str) -> dict[Sample, float]:
    """Return the samples of gauges of one worker."""
    rows = connection.execute(select(sample_rows.c.sample, sample_rows.c.value).where(sample_rows.c.worker == worker))
    parsed = {Sample.parse(key): float(value) for key, value in rows}
    return {sample: value for sample, value in parsed.items() if _is_gauge(sample)}


def _forget_old_workers(connection: Connection) -> None:
    """Remove workers without a heartbeat for a day, and add their counters to the sum of removed workers."""
    lock_until_end(connection, Lock.FORGOTTEN_WORKERS)
    old = list(connection.scalars(select(workers.c.id).where(workers.c.seen < now() - _FORGET_SECONDS)))
    if not old:
        return
    of_forgotten = sample_rows.c.worker.in_([*old, _FORGOTTEN])
    query = select(sample_rows.c.sample, func.sum(sample_rows.c.value)).where(of_forgotten)
    sums = {key: float(value) for key, value in connection.execute(query.group_by(sample_rows.c.sample))}
    connection.execute(delete(sample_rows).where(of_forgotten))
    counters = {key: value for key, value in sums.items() if not _is_gauge(Sample.parse(key))}
    _replace_samples(connection, _FORGOTTEN, counters)
    connection.execute(delete(workers).where(workers.c.id.in_(old)))


def _replace_samples(connection: Connection, worker: str, values: Mapping[str, float]) -> None:
    connection.execute(delete(sample_rows).where(sample_rows.c.worker == worker))
    if values:
        rows = [{"worker": worker, "sample": key, "value": value} for key, value in values.items()]
        connection.execute(insert(sample_rows), rows)


def _is_gauge(sample: Sample) -> bool:
    return sample.metric in METRICS and METRICS[sample.metric].kind == "gauge"
