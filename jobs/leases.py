"""Work that one worker holds for a while; changes name the epoch of the claim: who was overtaken changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Float, Row, Update, and_, bindparam, func, insert, select, update

from jobs.clock import now
from jobs.database import Database
from jobs.errors import LeaseLostError
from jobs.events import append_event
from jobs.fairness import RUNNABLE, STATUS_NOW, next_forecast
from jobs.sharing import count_groups
from jobs.states import OPEN, EventKind, Kind, Status
from jobs.tables import forecasts, work
from jobs.workers import mark_idle

_Forecast = Row[str, int, int, int]

# Statements of each lead time are built once: to build one takes longer than to execute it.
_OF_FORECAST = forecasts.c.id == bindparam("of_forecast")
_LOCK = (
    select(STATUS_NOW.label("status"), forecasts.c.num_lead_times, forecasts.c.lead_times, forecasts.c.summarised)
    .where(_OF_FORECAST)
    .with_for_update()
)
_PROGRESS = (
    update(forecasts).where(_OF_FORECAST).values(first_lead_time=func.coalesce(forecasts.c.first_lead_time, now()))
)
_COMPLETE = select(func.min(work.c.committed)).where(
    work.c.forecast_id == bindparam("of_forecast"), work.c.kind == Kind.GROUP
)
_MINE = and_(work.c.id == bindparam("of_work"), work.c.epoch == bindparam("of_epoch"))
_HELD = and_(_MINE, work.c.worker.is_not(None), work.c.done.is_(False))
"""A row is unfinished and has been neither overtaken nor handed back."""
_RENEW = update(work).where(_HELD).values(lease_until=now() + bindparam("lease_seconds", type_=Float))
_END = update(work).where(_HELD).values(lease_until=None, worker=None)


@dataclass(frozen=True)
class Lease:
    """A claim on a row of work: `committed` lead times of the group are there already."""

    work_id: int
    forecast_id: str
    kind: Kind
    group: int
    epoch: int
    committed: int

    @property
    def row(self) -> dict[str, Any]:
        """Return what statements know its row by."""
        return {"of_work": self.work_id, "of_epoch": self.epoch}


def claim(
    database: Database, worker: str, lease_seconds: float, max_attempts: int, idle_seconds: float = 0.0
) -> list[Lease]:
    """Return leases on a worker's share of the free work of the forecast whose turn it is.

    Free is what is not done, held by no living lease and begun fewer than `max_attempts` times without progress. The
    forecast is running from then on. Where there is none, others know for `idle_seconds` that the worker is idle.
    """
    while True:
        taken = _claim(database, worker, lease_seconds, max_attempts, idle_seconds)
        if taken is not None:
            return taken


def _claim(
    database: Database, worker: str, lease_seconds: float, max_attempts: int, idle_seconds: float
) -> list[Lease] | None:
    """Return what was claimed; None where another worker was faster."""
    with database.write() as connection:
        forecast_id = next_forecast(connection, max_attempts)
        if forecast_id is None:
            mark_idle(connection, worker, idle_seconds)
            return []
        if not _is_open(_lock(connection, forecast_id)):
            return None
        groups = count_groups(connection, forecast_id, worker, max_attempts)
        taken = _take(connection, forecast_id, worker, lease_seconds, max_attempts, max(groups.share - groups.mine, 1))
        if not taken:
            return None
        mark_idle(connection, worker, 0.0)
        began = connection.execute(
            update(forecasts)
            .where(forecasts.c.id == forecast_id, forecasts.c.status == Status.ACCEPTED)
            .values(status=Status.RUNNING, started=now())
        )
        if began.rowcount:
            append_event(connection, forecast_id, EventKind.RUNNING)
    return taken


def rebalance(
    database: Database, worker: str, leases: Sequence[Lease], lease_seconds: float, max_attempts: int
) -> list[Lease]:
    """Return leases on what a worker goes on with, of what it holds: what is unfinished, its share of it.

    What it hands over counts as no attempt; what it takes of the same forecast may be behind. The leases are renewed.
    """
    forecast_id = leases[0].forecast_id
    with database.write() as connection:
        if not _is_open(_lock(connection, forecast_id)):
            return []
        kept = []
        for lease in leases:
            if connection.execute(_RENEW, lease.row | {"lease_seconds": lease_seconds}).rowcount:
                committed = connection.scalar(select(work.c.committed).where(work.c.id == lease.work_id))
                kept.append(replace(lease, committed=committed or 0))
        if not kept or kept[0].kind != Kind.GROUP:
            return kept
        number = count_groups(connection, forecast_id, worker, max_attempts).share
        _hand_back(connection, kept[number:], counts=False)
        more = number - len(kept)
        taken = _take(connection, forecast_id, worker, lease_seconds, max_attempts, more) if more > 0 else []
    return sorted(kept[:number] + taken, key=lambda lease: lease.group)


def _take(
    connection: Connection, forecast_id: str, worker: str, lease_seconds: float, max_attempts: int, number: int
) -> list[Lease]:
    """Claim up to `number` free rows of a forecast that is locked, those that are behind first."""
    free = select(work).join(forecasts).where(RUNNABLE, work.c.forecast_id == forecast_id)
    first = free.order_by(work.c.committed, work.c.group_index).limit(number)
    rows = connection.execute(first, {"max_attempts": max_attempts}).all()
    taken = []
    for row in sorted(rows, key=lambda row: row.group_index):
        connection.execute(
            update(work).where(work.c.id == row.id).values(
                epoch=row.epoch + 1, attempts=row.attempts + 1, worker=worker, lease_until=now() + lease_seconds
            )
        )  # fmt: skip
        taken.append(Lease(row.id, forecast_id, Kind(row.kind), row.group_index, row.epoch + 1, row.committed))
    return taken


def commit(database: Database, lease: Lease, committed: int, lease_seconds: float, *, shared: bool = False) -> range:
    """Tell that the first `committed` lead times of a group are on disk; the last one adds the finishing work.

    Returns the indices of the lead times whose diagnostics and summary are the caller's from now on: those that all
    groups have and nobody has taken up. Where the forecast is `shared` with other workers, who made the last of them
    complete is behind, and leaves it to the next one that commits, or to the finishing work.

    Raises `LeaseLostError` where the lease was overtaken or the forecast called off: then nothing has changed.
    """
    of_forecast = {"of_forecast": lease.forecast_id}
    with database.write() as connection:
        forecast = _fence(
            connection, _RENEW, lease, {"lease_seconds": lease_seconds, "committed": committed, "attempts": 1}
        )
        total, before = forecast.num_lead_times, forecast.lead_times
        if committed == total:
            connection.execute(_END, lease.row | {"done": True})
        complete = connection.scalar(_COMPLETE, of_forecast) or 0
        taken = range(forecast.summarised, before if shared else complete)
        if complete > before or taken:
            connection.execute(_PROGRESS, of_forecast | {"lead_times": complete, "summarised": taken.stop})
        if complete > before:
            append_event(connection, lease.forecast_id, EventKind.LEAD_TIME, lead_times=complete, num_lead_times=total)
        if complete == total:
            connection.execute(insert(work).values(forecast_id=lease.forecast_id, kind=Kind.FINISH, group_index=0))
    return taken


def renew(database: Database, leases: Sequence[Lease], lease_seconds: float) -> bool:
    """Hold on to leases; returns whether all of them that are not done are still held and their forecast is wanted."""
    with database.write() as connection:
        if not _is_open(_lock(connection, leases[0].forecast_id)):
            return False
        held = 0
        for lease in leases:
            renewed = connection.execute(_RENEW, lease.row | {"lease_seconds": lease_seconds}).rowcount
            held += renewed or bool(connection.scalar(select(work.c.done).where(_MINE), lease.row))
    return held == len(leases)


def is_open(database: Database, forecast_id: str) -> bool:
    """Return whether a forecast still waits or runs."""
    with database.read() as connection:
        return connection.scalar(select(STATUS_NOW).where(forecasts.c.id == forecast_id)) in OPEN


def release(database: Database, leases: Sequence[Lease], *, counts: bool, wait_seconds: float = 0.0) -> None:
    """Hand work back, so that another worker may take it, after `wait_seconds`; an attempt that `counts` is kept."""
    with database.write() as connection:
        _hand_back(connection, leases, counts=counts, wait_seconds=wait_seconds)


def retry_or_fail(
    database: Database, leases: Sequence[Lease], problem: Mapping[str, Any], max_attempts: int, wait_seconds: float
) -> None:
    """Hand work back after an error, to be tried again in `wait_seconds`; or fail, where this was the last attempt."""
    with database.write() as connection:
        found = [connection.scalar(select(work.c.id).where(_HELD), lease.row) for lease in leases]
        held = [work_id for work_id in found if work_id is not None]
        _hand_back(connection, leases, counts=True, wait_seconds=wait_seconds)
        spent = select(func.count()).where(work.c.id.in_(held), work.c.attempts >= max_attempts)
        if connection.scalar(spent):
            fail_forecast(connection, leases[0].forecast_id, problem)


def _hand_back(connection: Connection, leases: Sequence[Lease], *, counts: bool, wait_seconds: float = 0.0) -> None:
    for lease in leases:
        connection.execute(
            update(work)
            .where(_HELD)
            .values(
                lease_until=now() + wait_seconds if wait_seconds else None,
                worker=None,
                attempts=work.c.attempts if counts else work.c.attempts - 1,
            ),
            lease.row,
        )


def finish(database: Database, lease: Lease, receipt: Mapping[str, Any], store_bytes: int) -> None:
    """Make a forecast successful, once, with a store of `store_bytes`; raises `LeaseLostError` as `commit` does."""
    with database.write() as connection:
        _fence(connection, _END, lease, {"done": True})
        connection.execute(
            update(forecasts)
            .where(forecasts.c.id == lease.forecast_id)
            .values(status=Status.SUCCESSFUL, receipt=dict(receipt), store_bytes=store_bytes, finished=now())
        )
        append_event(connection, lease.forecast_id, EventKind.SUCCESSFUL)


def fail(database: Database, lease: Lease, problem: Mapping[str, Any]) -> None:
    """Make a forecast failed, its lead times kept; raises `LeaseLostError` as `commit` does."""
    with database.write() as connection:
        _fence(connection, _END, lease, {})
        fail_forecast(connection, lease.forecast_id, problem)


def fail_forecast(connection: Connection, forecast_id: str, problem: Mapping[str, Any]) -> None:
    """Write the failure of a forecast that has not ended."""
    changed = connection.execute(
        update(forecasts)
        .where(forecasts.c.id == forecast_id, forecasts.c.status.in_(OPEN))
        .values(status=Status.FAILED, error=dict(problem), finished=now())
    )
    if changed.rowcount:
        append_event(connection, forecast_id, EventKind.FAILED, **problem)


def _fence(connection: Connection, change: Update, lease: Lease, values: Mapping[str, Any]) -> _Forecast:
    """Change a row of work, in the transaction, if its lease and its forecast are still what they were.

    Returns the forecast's row, locked.
    """
    forecast = _lock(connection, lease.forecast_id)
    changed = connection.execute(change, {**lease.row, **values})
    if forecast is None or not _is_open(forecast) or changed.rowcount != 1:
        raise LeaseLostError(f"Work {lease.work_id} of forecast {lease.forecast_id} is no longer this worker's.")
    return forecast


def _lock(connection: Connection, forecast_id: str) -> _Forecast | None:
    """Return how far a forecast is, whose row nobody else can change before the transaction ends."""
    return connection.execute(_LOCK, {"of_forecast": forecast_id}).one_or_none()


def _is_open(forecast: _Forecast | None) -> bool:
    return forecast is not None and forecast.status in OPEN
