"""Forecasts as rows: accepted once, looked up by their owner, called off."""

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from jobs.clock import now
from jobs.database import Database
from jobs.errors import ForecastNotFoundError, ForecastOverError, IdempotencyError
from jobs.events import append_event
from jobs.request import ForecastRequest
from jobs.states import OPEN, Data, EventKind, Kind, Priority, Status
from jobs.tables import forecasts, work


@dataclass(frozen=True)
class ForecastRecord:
    """A forecast as its row says: `lead_times` of `num_lead_times` are complete in all groups."""

    id: str
    owner: str
    request: ForecastRequest
    status: Status
    priority: Priority
    lead_times: int
    num_lead_times: int
    error: dict[str, Any] | None
    receipt: dict[str, Any] | None
    data: Data
    created: float
    started: float | None
    finished: float | None


def new_forecast_id() -> str:
    """Return an id that nobody can guess."""
    return f"fc_{secrets.token_hex(12)}"


def insert_forecast(
    database: Database,
    forecast_id: str,
    owner: str,
    request: ForecastRequest,
    num_lead_times: int,
    idempotency_key: str | None = None,
    expected_bytes: int | None = None,
    priority: Priority = Priority.NORMAL,
) -> ForecastRecord:
    """Write the rows of a forecast and of its groups, and return it; its deadline counts from now on.

    Where `owner` has used `idempotency_key` before, return that forecast and write nothing: compare the id. Raises
    `IdempotencyError` where it was for another request.
    """
    row = {
        "id": forecast_id,
        "owner": owner,
        "idempotency_key": idempotency_key,
        "request": request.model_dump(mode="json"),
        "request_digest": request.digest,
        "status": Status.ACCEPTED,
        "priority": priority,
        "num_lead_times": num_lead_times,
        "expected_bytes": expected_bytes,
        "deadline": None if request.deadline_seconds is None else now() + request.deadline_seconds,
    }
    num_groups = -(-request.members // request.group_size)
    groups = [{"forecast_id": forecast_id, "kind": Kind.GROUP, "group_index": index} for index in range(num_groups)]
    try:
        with database.write() as connection:
            connection.execute(insert(forecasts).values(**row, created=now()))
            connection.execute(insert(work), groups)
            append_event(connection, forecast_id, EventKind.ACCEPTED)
    except IntegrityError:
        earlier = find_by_idempotency_key(database, owner, idempotency_key, request) if idempotency_key else None
        if earlier is None:
            raise
        return earlier
    return read_forecast(database, forecast_id, owner)


def find_by_idempotency_key(
    database: Database, owner: str, idempotency_key: str, request: ForecastRequest
) -> ForecastRecord | None:
    """Return the forecast that `owner` asked for under this key, if any.

    Raises `IdempotencyError` where that was another request.
    """
    query = select(forecasts).where(forecasts.c.owner == owner, forecasts.c.idempotency_key == idempotency_key)
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is not None and row.request_digest != request.digest:
        raise IdempotencyError(
            f"`Idempotency-Key` {idempotency_key!r} was used for another request, forecast {row.id}. Use a new key."
        )
    return None if row is None else _record(row)


def read_forecast(database: Database, forecast_id: str, owner: str | None = None) -> ForecastRecord:
    """Return a forecast; raises `ForecastNotFoundError` where there is none, or it is not the owner's."""
    query = select(forecasts).where(forecasts.c.id == forecast_id)
    if owner is not None:
        query = query.where(forecasts.c.owner == owner)
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise ForecastNotFoundError(f"There is no forecast {forecast_id!r}.")
    return _record(row)


def list_forecasts(
    database: Database, owner: str, status: Status | None, limit: int, before: str | None = None
) -> list[ForecastRecord]:
    """Return an owner's forecasts, the newest first; `before` is the id of the last one that the caller has seen."""
    query = select(forecasts).where(forecasts.c.owner == owner)
    if status is not None:
        query = query.where(forecasts.c.status == status)
    if before is not None:
        last = forecasts.alias()
        created = select(last.c.created).where(last.c.id == before, last.c.owner == owner).scalar_subquery()
        query = query.where(
            or_(forecasts.c.created < created, and_(forecasts.c.created == created, forecasts.c.id < before))
        )
    query = query.order_by(forecasts.c.created.desc(), forecasts.c.id.desc()).limit(limit)
    with database.read() as connection:
        return [_record(row) for row in connection.execute(query)]


def count_open(database: Database) -> tuple[int, float | None]:
    """Return how many forecasts wait or run, and for how many seconds the oldest that waits has done so."""
    waiting = select(func.min(forecasts.c.created)).where(forecasts.c.status == Status.ACCEPTED)
    with database.read() as connection:
        number = connection.scalar(select(func.count()).where(forecasts.c.status.in_(OPEN))) or 0
        oldest = connection.scalar(select(now() - waiting.scalar_subquery()))
    return number, oldest


def cancel_forecast(database: Database, forecast_id: str, owner: str) -> ForecastRecord:
    """Call a forecast off: one that waits never runs, one that runs commits nothing more.

    Raises `ForecastNotFoundError`, and `ForecastOverError` where it has ended.
    """
    with database.write() as connection:
        changed = connection.execute(
            update(forecasts)
            .where(forecasts.c.id == forecast_id, forecasts.c.owner == owner, forecasts.c.status.in_(OPEN))
            .values(status=Status.DISMISSED, finished=now())
        )
        if changed.rowcount:
            append_event(connection, forecast_id, EventKind.DISMISSED)
    record = read_forecast(database, forecast_id, owner)
    if not changed.rowcount:
        raise ForecastOverError(f"Forecast {forecast_id} has ended: it is {record.status}.")
    return record


def _record(row: Row[Any]) -> ForecastRecord:
    return ForecastRecord(
        row.id, row.owner, ForecastRequest.model_validate(row.request), Status(row.status), Priority(row.priority),
        row.lead_times, row.num_lead_times, row.error, row.receipt, Data(row.data), row.created, row.started,
        row.finished,
    )  # fmt: skip
