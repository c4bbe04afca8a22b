"""Measurements of workers, as rows: speeds, compression of stores, best batch sizes.

Speeds and compression are running averages by checkpoint, machine and group size.
"""

from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from jobs.dispatching.live_workers import Machine, list_live_workers
from jobs.planning.estimates import (
    Compression,
    Demand,
    Estimator,
    RunningForecast,
    Speed,
    WaitingForecasts,
    WaitingWork,
)
from jobs.rows.clock import now
from jobs.rows.states import Kind, Status
from jobs.rows.tables import batch_sizes, compilations, forecasts, speeds, usage, waiting_work, work

DEFAULT_GROUP_SIZE = 8
"""Members of a group for a checkpoint that has not been measured on any device."""

_MEMORY_STEPS = 20
"""Number of new lead times of a group whose weight equals that of all earlier measurements."""


def record_speed(
    connection: Connection, checkpoint_digest: str, machine: Machine, speed: Speed, num_steps: int
) -> None:
    """Update the running averages with the speed measured over `num_steps` lead times of a group.

    The weight of the new value is n / (n + 20) for n steps; the first value is stored as it is.
    """
    values: dict[str, float | None] = {
        "warm_start_seconds": speed.warm_start_seconds,
        "flow_seconds": speed.flow_seconds,
        "beside_seconds": speed.overhead_seconds,
        "memory_bytes": speed.memory_bytes,
    }
    weight = num_steps / (num_steps + _MEMORY_STEPS)
    _record(connection, checkpoint_digest, machine, speed.group_size, values, weight)


def record_compression(
    connection: Connection, checkpoint_digest: str, machine: Machine, compression: Compression
) -> None:
    """Update the running averages with the compression of a whole store; the weight of the new value is 1/2."""
    values: dict[str, float | None] = {
        "store_ratio": compression.ratio,
        "metadata_bytes": compression.metadata_bytes,
    }
    _record(connection, checkpoint_digest, machine, compression.group_size, values, 0.5)


def load_estimator(connection: Connection) -> Estimator:
    """Return an estimator from the measurements, live workers and open forecasts of this moment."""
    by_checkpoint: dict[str, list[tuple[Machine, Speed]]] = {}
    compressions: dict[str, list[Compression]] = {}
    for row in connection.execute(select(speeds).order_by(speeds.c.updated.desc())):
        if row.flow_seconds is not None:
            speed = Speed(
                row.group_size, row.warm_start_seconds, row.flow_seconds, row.beside_seconds, row.memory_bytes
            )
            machine = Machine(row.device, row.threads)
            by_checkpoint.setdefault(row.checkpoint_digest, []).append((machine, speed))
        if row.store_ratio is not None:
            compression = Compression(row.group_size, row.store_ratio, row.metadata_bytes)
            compressions.setdefault(row.checkpoint_digest, []).append(compression)
    machines = [worker.machine for worker in list_live_workers(connection) if worker.machine is not None]
    longest = select(compilations.c.checkpoint_digest, func.max(compilations.c.seconds)).group_by("checkpoint_digest")
    return Estimator(
        by_checkpoint,
        compressions,
        machines,
        _list_running(connection),
        _list_waiting(connection),
        dict(map(tuple, connection.execute(longest))),
    )


def save_compile_seconds(connection: Connection, checkpoint_digest: str, device_kind: str, seconds: float) -> None:
    """Store how long the networks of a checkpoint were compiled on a kind of device, in place of an earlier time."""
    key = {"checkpoint_digest": checkpoint_digest, "device": device_kind}
    connection.execute(delete(compilations).filter_by(**key))
    connection.execute(insert(compilations).values(**key, seconds=seconds))


def save_batch_size(connection: Connection, checkpoint_digest: str, device_kind: str, members: int) -> None:
    """Store the best batch size of a checkpoint on a kind of device, in place of an earlier one."""
    key = {"checkpoint_digest": checkpoint_digest, "device": device_kind}
    connection.execute(delete(batch_sizes).filter_by(**key))
    connection.execute(insert(batch_sizes).values(**key, members=members))


def read_batch_size(connection: Connection, checkpoint_digest: str, device_kind: str) -> int | None:
    """Return the best batch size of a checkpoint on a kind of device, or None if it was not measured."""
    query = select(batch_sizes.c.members).filter_by(checkpoint_digest=checkpoint_digest, device=device_kind)
    members: int | None = connection.scalar(query)
    return members


def choose_group_size(connection: Connection, checkpoint_digest: str) -> int:
    """Return the group size of a new forecast: the smallest of the best batch sizes of all kinds of device."""
    query = select(func.min(batch_sizes.c.members)).filter_by(checkpoint_digest=checkpoint_digest)
    return connection.scalar(query) or DEFAULT_GROUP_SIZE


def _list_running(connection: Connection) -> list[RunningForecast]:
    """Return the computation of each running forecast and the fraction that is left of it."""
    committed = select(func.sum(work.c.committed)).where(
        work.c.forecast_id == forecasts.c.id, work.c.kind == Kind.GROUP
    )
    query = select(forecasts, committed.scalar_subquery().label("committed"))
    running = []
    for row in connection.execute(query.where(forecasts.c.status == Status.RUNNING)):
        demand = Demand(row.checkpoint_digest, row.group_size, row.num_groups, row.num_lead_times, row.nfe)
        remaining = 1.0 - float(row.committed or 0) / (row.num_groups * row.num_lead_times)
        running.append(RunningForecast(demand, remaining, row.expected_bytes or 0))
    return running


def _list_waiting(connection: Connection) -> dict[str, WaitingForecasts]:
    """Return the waiting forecasts by owner, from counters."""
    parts: dict[str, list[WaitingWork]] = {}
    for row in connection.execute(select(waiting_work).where(waiting_work.c.steps > 0)):
        part = WaitingWork(row.checkpoint_digest, row.group_size, row.steps, row.flow_steps, row.expected_bytes)
        parts.setdefault(row.owner, []).append(part)
    first = select(forecasts.c.number).where(forecasts.c.owner == usage.c.owner, forecasts.c.status == Status.ACCEPTED)
    first = first.order_by(forecasts.c.created, forecasts.c.id).limit(1)
    query = select(usage.c.owner, usage.c.waiting, first.scalar_subquery().label("first")).where(usage.c.waiting > 0)
    return {
        row.owner: WaitingForecasts(row.waiting, row.first or 0, tuple(parts.get(row.owner, ())))
        for row in connection.execute(query)
    }


def _record(
    connection: Connection,
    checkpoint_digest: str,
    machine: Machine,
    group_size: int,
    values: dict[str, float | None],
    weight: float,
) -> None:
    """Insert values for a checkpoint, machine and group size, or update the averages that exist."""
    key: dict[str, Any] = {"checkpoint_digest": checkpoint_digest, "device": machine.device_kind}
    key |= {"threads": machine.threads, "group_size": group_size}
    if not _update_averages(connection, key, values, weight):
        try:
            with connection.begin_nested():
                connection.execute(insert(speeds).values(**key, **values, updated=now()))
        except IntegrityError:  # another worker has inserted this row in the meantime
            _update_averages(connection, key, values, weight)


def _update_averages(
    connection: Connection, key: dict[str, Any], values: dict[str, float | None], weight: float
) -> bool:
    """Move the averages of a row towards `values` by `weight`; return whether the row exists."""
    same = and_(*(speeds.c[name] == value for name, value in key.items()))
    row = connection.execute(select(speeds).where(same).with_for_update()).mappings().one_or_none()
    if row is None:
        return False
    averages = {
        name: value if row[name] is None or value is None else row[name] + weight * (value - row[name])
        for name, value in values.items()
    }
    connection.execute(update(speeds).where(same).values(**averages, updated=now()))
    return True
