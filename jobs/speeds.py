"""What workers have measured, as rows: running values by checkpoint, machine and group size."""

from typing import Any

from sqlalchemy import Connection, and_, insert, select, update
from sqlalchemy.exc import IntegrityError

from jobs.clock import now
from jobs.database import Database
from jobs.planning import Compression, Demand, Estimator, Machine, QueuedForecast, Speed
from jobs.request import ForecastRequest
from jobs.states import OPEN, Kind
from jobs.tables import forecasts, speeds, work
from jobs.workers import list_live_workers

_STEPS_OF_MEMORY = 20
"""So many lead times of a group weigh as much as all that was measured before."""


def record_speed(database: Database, checkpoint_digest: str, machine: Machine, speed: Speed, num_steps: int) -> None:
    """Let the running values come nearer to what `num_steps` lead times of a group took; the first is taken whole."""
    values: dict[str, float | None] = {
        "warm_start_seconds": speed.warm_start_seconds,
        "flow_seconds": speed.flow_seconds,
        "beside_seconds": speed.beside_seconds,
        "memory_bytes": speed.memory_bytes,
    }
    weight = num_steps / (num_steps + _STEPS_OF_MEMORY)
    _learn(database, checkpoint_digest, machine, speed.group_size, values, weight)


def record_compression(database: Database, checkpoint_digest: str, machine: Machine, storage: Compression) -> None:
    """Let the running values come half of the way to what a whole store takes."""
    values: dict[str, float | None] = {"store_ratio": storage.ratio, "metadata_bytes": storage.metadata_bytes}
    _learn(database, checkpoint_digest, machine, storage.group_size, values, 0.5)


def load_estimator(connection: Connection) -> Estimator:
    """Return what is known now for plans."""
    by_checkpoint: dict[str, list[tuple[Machine, Speed]]] = {}
    storages: dict[str, list[Compression]] = {}
    for row in connection.execute(select(speeds).order_by(speeds.c.updated.desc())):
        if row.flow_seconds is not None:
            speed = Speed(
                row.group_size, row.warm_start_seconds, row.flow_seconds, row.beside_seconds, row.memory_bytes
            )
            machine = Machine(row.device, row.threads)
            by_checkpoint.setdefault(row.checkpoint_digest, []).append((machine, speed))
        if row.store_ratio is not None:
            storage = Compression(row.group_size, row.store_ratio, row.metadata_bytes)
            storages.setdefault(row.checkpoint_digest, []).append(storage)
    machines = [worker.machine for worker in list_live_workers(connection) if worker.machine is not None]
    return Estimator(by_checkpoint, storages, machines, _queue(connection))


def demand_of(request: ForecastRequest, num_lead_times: int) -> Demand:
    """Return what a request asks of workers."""
    return Demand(
        request.checkpoint_digest,
        request.group_size,
        -(-request.members // request.group_size),
        num_lead_times,
        request.sampling.nfe,
    )


def _queue(connection: Connection) -> list[QueuedForecast]:
    """Return the forecasts that have not ended, in the order that they were accepted."""
    groups = select(work.c.forecast_id, work.c.committed).join(forecasts)
    groups = groups.where(forecasts.c.status.in_(OPEN), work.c.kind == Kind.GROUP)
    committed: dict[str, list[int]] = {}
    for forecast_id, lead_times in connection.execute(groups):
        committed.setdefault(forecast_id, []).append(lead_times)
    queue = []
    for row in connection.execute(select(forecasts).where(forecasts.c.status.in_(OPEN)).order_by(forecasts.c.created)):
        done = committed.get(row.id, [])
        demand = demand_of(ForecastRequest.model_validate(row.request), row.num_lead_times)
        remaining = 1.0 - sum(done) / (len(done) * row.num_lead_times) if done else 1.0
        queue.append(QueuedForecast(demand, row.created, remaining, row.expected_bytes or 0))
    return queue


def _learn(
    database: Database, digest: str, machine: Machine, group_size: int, values: dict[str, float | None], weight: float
) -> None:
    key = {
        "checkpoint_digest": digest, "device": machine.device, "threads": machine.threads, "group_size": group_size
    }  # fmt: skip
    try:
        _blend(database, key, values, weight)
    except IntegrityError:
        _blend(database, key, values, weight)  # another worker was the first to write this row


def _blend(database: Database, key: dict[str, Any], values: dict[str, float | None], weight: float) -> None:
    same = and_(*(speeds.c[name] == value for name, value in key.items()))
    with database.write() as connection:
        row = connection.execute(select(speeds).where(same).with_for_update()).mappings().one_or_none()
        if row is None:
            connection.execute(insert(speeds).values(**key, **values, updated=now()))
            return
        blended = {
            name: value if row[name] is None or value is None else row[name] + weight * (value - row[name])
            for name, value in values.items()
        }
        connection.execute(update(speeds).where(same).values(**blended, updated=now()))
