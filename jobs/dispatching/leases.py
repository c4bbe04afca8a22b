"""Leases: work that one worker holds for a limited time.

Every change names the epoch of its claim. A worker whose lease was taken over makes no change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Float, Row, Update, and_, bindparam, func, insert, select, update

from jobs.dispatching.fairness import CURRENT_STATUS, RUNNABLE, next_forecast
from jobs.dispatching.live_workers import mark_busy, mark_idle
from jobs.dispatching.sharing import count_groups
from jobs.errors import LeaseLostError
from jobs.events import append_event
from jobs.phases import report_phase
from jobs.rows.clock import now, now_after
from jobs.rows.database import Database
from jobs.rows.end_time import END_TIME
from jobs.rows.states import OPEN, EventKind, Kind, Phase, Status
from jobs.rows.tables import forecasts, work

_Progress = Row[str, int, int, int]

# Statements that run at each lead time are built once: building one takes longer than executing it.
_OF_FORECAST = forecasts.c.id == bindparam("of_forecast")
_LOCK = (
    select(CURRENT_STATUS.label("status"), forecasts.c.num_lead_times, forecasts.c.lead_times, forecasts.c.summarised)
    .where(_OF_FORECAST)
    .with_for_update()
)
_SET_PROGRESS = (
    update(forecasts)
    .where(_OF_FORECAST)
    .values(first_lead_time=func.coalesce(forecasts.c.first_lead_time, now_after(forecasts.c.started)))
)
_COUNT_COMPLETE = select(func.min(work.c.committed)).where(
    work.c.forecast_id == bindparam("of_forecast"), work.c.kind == Kind.GROUP
)
_CLAIMED = and_(work.c.id == bindparam("of_work"), work.c.epoch == bindparam("of_epoch"))
_HELD = and_(_CLAIMED, work.c.worker.is_not(None), work.c.done.is_(False))
"""Condition on a row of work: it is unfinished, and was neither taken over nor released."""
_RENEW = update(work).where(_HELD).values(lease_until=now() + bindparam("lease_seconds", type_=Float))
_END = update(work).where(_HELD).values(lease_until=None, worker=None)


@dataclass(frozen=True)
class Lease:
    """A worker's claim on a row of work; `committed` lead times of the group were committed before it."""

    work_id: int
    forecast_id: str
    kind: Kind
    group: int
    epoch: int
    committed: int

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters by which statements find the row of this claim."""
        return {"of_work": self.work_id, "of_epoch": self.epoch}


def claim(
    database: Database, worker: str, lease_seconds: float, max_attempts: int, idle_seconds: float = 0.0
) -> list[Lease]:
    """Claim a worker's share of the free work of the forecast that is next, and return the leases.

    Work is free if it is not done, no worker holds a valid lease on it, and it was claimed fewer than `max_attempts`
    times without progress. The forecast's status becomes running. If no work is free, the worker is marked as idle for
    `idle_seconds` and the list is empty.

    Takes the `Database`, not a `Connection`: if another worker claims the same work first, the claim is repeated in a
    new transaction.
    """
    while True:
        with database.write() as connection:
            leases = _claim_once(connection, worker, lease_seconds, max_attempts, idle_seconds)
        if leases is not None:
            return leases


def _claim_once(
    connection: Connection, worker: str, lease_seconds: float, max_attempts: int, idle_seconds: float
) -> list[Lease] | None:
    """Claim as `claim` does, or return None if another worker claimed the same work first."""
    forecast_id = next_forecast(connection, max_attempts)
    if forecast_id is None:
        mark_idle(connection, worker, idle_seconds)
        return []
    if not _has_not_ended(_lock_forecast(connection, forecast_id)):
        return None
    counts = count_groups(connection, forecast_id, worker, max_attempts)
    number = max(counts.fair_share - counts.held, 1)
    leases = _claim_rows(connection, forecast_id, worker, lease_seconds, max_attempts, number)
    if not leases:
        return None
    mark_busy(connection, worker)
    phase = Phase.FINALISING if leases[0].kind == Kind.FINISH else Phase.READING_STATE
    report_phase(connection, forecast_id, worker, phase)
    started = connection.execute(
        update(forecasts)
        .where(forecasts.c.id == forecast_id, forecasts.c.status == Status.ACCEPTED)
        .values(status=Status.RUNNING, started=now_after(forecasts.c.created))
    )
    if started.rowcount:
        append_event(connection, forecast_id, EventKind.RUNNING)
    return leases


def rebalance(
    connection: Connection, worker: str, leases: Sequence[Lease], lease_seconds: float, max_attempts: int
) -> list[Lease]:
    """Renew a worker's leases on one forecast, adjust their number to its fair share, and return the new list.

    Leases on finished groups, or on groups that were taken over, are dropped; a lease on other work than a group of
    members is only renewed. Above the fair share, leases are released, without counting an attempt. Below
    it, free groups of the same forecast are claimed, which may have fewer lead times committed than the others. The
    list is empty if the forecast has ended.
    """
    forecast_id = leases[0].forecast_id
    if not _has_not_ended(_lock_forecast(connection, forecast_id)):
        return []
    held = []
    for lease in leases:
        if connection.execute(_RENEW, lease.parameters | {"lease_seconds": lease_seconds}).rowcount:
            committed = connection.scalar(select(work.c.committed).where(work.c.id == lease.work_id))
            held.append(replace(lease, committed=committed or 0))
    if not held or held[0].kind != Kind.GROUP:
        return held
    number = count_groups(connection, forecast_id, worker, max_attempts).fair_share
    release(connection, held[number:], counts=False)
    missing = number - len(held)
    claimed = _claim_rows(connection, forecast_id, worker, lease_seconds, max_attempts, missing) if missing > 0 else []
    return sorted(held[:number] + claimed, key=lambda lease: lease.group)


def _claim_rows(
    connection: Connection, forecast_id: str, worker: str, lease_seconds: float, max_attempts: int, number: int
) -> list[Lease]:
    """Claim up to `number` free rows of a locked forecast, those with the fewest committed lead times first.

    Returns their leases by ascending group.
    """
    free = select(work).join(forecasts).where(RUNNABLE, work.c.forecast_id == forecast_id)
    first = free.order_by(work.c.committed, work.c.group_index).limit(number)
    rows = connection.execute(first, {"max_attempts": max_attempts}).all()
    if any(row.worker is not None for row in rows):  # its lease has expired
        complete = connection.scalar(_COUNT_COMPLETE, {"of_forecast": forecast_id}) or 0
        append_event(connection, forecast_id, EventKind.WORKER_LOST, lead_times=complete)
    leases = []
    for row in sorted(rows, key=lambda row: row.group_index):
        epoch, attempts = row.epoch + 1, row.attempts + 1
        claimed = update(work).where(work.c.id == row.id)
        connection.execute(
            claimed.values(epoch=epoch, attempts=attempts, worker=worker, lease_until=now() + lease_seconds)
        )
        leases.append(Lease(row.id, forecast_id, Kind(row.kind), row.group_index, epoch, row.committed))
    return leases


def commit(
    connection: Connection, lease: Lease, committed: int, lease_seconds: float, *, shared: bool = False
) -> range:
    """Record that the first `committed` lead times of a group are on disk, and renew the lease.

    The commit that completes the last lead time of all groups inserts the finishing work.

    Returns the indices of the lead times whose diagnostics and summary the caller must write: lead times that all
    groups have and that are not assigned to a worker yet. If the forecast is `shared` with other workers, the lead time
    that this commit completes is not assigned: its worker is behind the others, so it is left to the next commit or to
    the finishing work.

    Raises `LeaseLostError`, and changes nothing, if the lease was taken over or the forecast has ended.
    """
    of_forecast = {"of_forecast": lease.forecast_id}
    progress = {"lease_seconds": lease_seconds, "committed": committed, "attempts": 1}
    forecast = _change_if_held(connection, _RENEW, lease, progress)
    total, before = forecast.num_lead_times, forecast.lead_times
    if committed == total:
        connection.execute(_END, lease.parameters | {"done": True})
    complete = connection.scalar(_COUNT_COMPLETE, of_forecast) or 0
    assigned = range(forecast.summarised, before if shared else complete)
    if complete > before or assigned:
        connection.execute(_SET_PROGRESS, of_forecast | {"lead_times": complete, "summarised": assigned.stop})
    if complete > before:
        append_event(connection, lease.forecast_id, EventKind.LEAD_TIME, lead_times=complete, num_lead_times=total)
    if complete == total:
        connection.execute(insert(work).values(forecast_id=lease.forecast_id, kind=Kind.FINISH, group_index=0))
    return assigned


def renew(connection: Connection, leases: Sequence[Lease], lease_seconds: float) -> bool:
    """Renew leases on one forecast; return whether it has not ended and each lease is still held or its work done."""
    if not _has_not_ended(_lock_forecast(connection, leases[0].forecast_id)):
        return False
    valid = 0
    for lease in leases:
        renewed = connection.execute(_RENEW, lease.parameters | {"lease_seconds": lease_seconds}).rowcount
        valid += renewed or bool(connection.scalar(select(work.c.done).where(_CLAIMED), lease.parameters))
    return valid == len(leases)


def is_open(connection: Connection, forecast_id: str) -> bool:
    """Return whether a forecast is accepted or running, and its deadline has not passed."""
    return connection.scalar(select(CURRENT_STATUS).where(forecasts.c.id == forecast_id)) in OPEN


def release(connection: Connection, leases: Sequence[Lease], *, counts: bool, wait_seconds: float = 0.0) -> None:
    """End leases early, so that any worker can claim their work after `wait_seconds`.

    The claim counts as an attempt only if `counts` is true.
    """
    for lease in leases:
        connection.execute(
            update(work)
            .where(_HELD)
            .values(
                lease_until=now() + wait_seconds if wait_seconds else None,
                worker=None,
                attempts=work.c.attempts if counts else work.c.attempts - 1,
            ),
            lease.parameters,
        )


def retry_or_fail(
    connection: Connection,
    leases: Sequence[Lease],
    problem: Mapping[str, Any],
    max_attempts: int,
    wait_seconds: float,
) -> None:
    """Release work after an error, to be tried again in `wait_seconds`; after the last attempt, fail the forecast."""
    found = [connection.scalar(select(work.c.id).where(_HELD), lease.parameters) for lease in leases]
    held = [work_id for work_id in found if work_id is not None]
    release(connection, leases, counts=True, wait_seconds=wait_seconds)
    exhausted = select(func.count()).where(work.c.id.in_(held), work.c.attempts >= max_attempts)
    if connection.scalar(exhausted):
        fail_forecast(connection, leases[0].forecast_id, problem)
    elif held:
        append_event(connection, leases[0].forecast_id, EventKind.RETRY, type=problem["type"])


def finish(connection: Connection, lease: Lease, receipt: Mapping[str, Any], store_bytes: int) -> None:
    """Mark a forecast as successful, once, with its receipt and the bytes of its store.

    Raises `LeaseLostError` as `commit` does.
    """
    _change_if_held(connection, _END, lease, {"done": True})
    connection.execute(
        update(forecasts)
        .where(forecasts.c.id == lease.forecast_id)
        .values(status=Status.SUCCESSFUL, receipt=dict(receipt), store_bytes=store_bytes, finished=END_TIME)
    )
    append_event(connection, lease.forecast_id, EventKind.SUCCESSFUL)


def fail(connection: Connection, lease: Lease, problem: Mapping[str, Any]) -> None:
    """Mark a leased forecast as failed; its lead times are kept. Raises `LeaseLostError` as `commit` does."""
    _change_if_held(connection, _END, lease, {})
    fail_forecast(connection, lease.forecast_id, problem)


def fail_forecast(connection: Connection, forecast_id: str, problem: Mapping[str, Any]) -> None:
    """Mark a forecast as failed, unless it has ended, and append the event."""
    changed = connection.execute(
        update(forecasts)
        .where(forecasts.c.id == forecast_id, forecasts.c.status.in_(OPEN))
        .values(status=Status.FAILED, error=dict(problem), finished=END_TIME)
    )
    if changed.rowcount:
        append_event(connection, forecast_id, EventKind.FAILED, **problem)


def _change_if_held(connection: Connection, change: Update, lease: Lease, values: Mapping[str, Any]) -> _Progress:
    """Execute `change` on the row of a lease that is still held, and return the progress of its locked forecast.

    Raises `LeaseLostError` if the lease is no longer held or the forecast has ended.
    """
    forecast = _lock_forecast(connection, lease.forecast_id)
    changed = connection.execute(change, {**lease.parameters, **values})
    if forecast is None or not _has_not_ended(forecast) or changed.rowcount != 1:
        raise LeaseLostError(f"Work {lease.work_id} of forecast {lease.forecast_id} is no longer this worker's.")
    return forecast


def _lock_forecast(connection: Connection, forecast_id: str) -> _Progress | None:
    """Lock a forecast's row until the transaction ends, and return its status and progress."""
    return connection.execute(_LOCK, {"of_forecast": forecast_id}).one_or_none()


def _has_not_ended(forecast: _Progress | None) -> bool:
    return forecast is not None and forecast.status in OPEN
