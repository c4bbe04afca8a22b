"""Rows of forecasts: insert, read, list, count, cancel."""

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Row, exists, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from jobs.alerts import Alert, parse_alerts
from jobs.audit import Action, append_audit
from jobs.callbacks import CallbackView
from jobs.errors import ForecastNotFoundError, ForecastOverError, IdempotencyError
from jobs.events import append_event
from jobs.handling import PLAIN, Handling
from jobs.logs import current_request_id
from jobs.mode import Mode
from jobs.request import ForecastRequest
from jobs.rows.clock import now
from jobs.rows.end_time import END_TIME
from jobs.rows.states import OPEN, Data, EventKind, Kind, Phase, Priority, Status
from jobs.rows.tables import forecasts, usage, work


@dataclass(frozen=True)
class ForecastRecord:
    """The row of a forecast; `lead_times` of its `num_lead_times` are complete in all groups.

    `number` counts the forecasts of its owner in the order of acceptance, from 1. `damaged_files` are known to be
    damaged. `mode` is how its networks are evaluated, None before a worker has claimed it. `labels` and
    `retention_hours` are those of its submission. A part of a batch has its `batch_id` and the index in it. `phase` is
    what its workers have reported last.
    """

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
    number: int
    damaged_files: int
    mode: Mode | None
    labels: Mapping[str, str]
    retention_hours: float | None
    batch_id: str | None = None
    batch_index: int | None = None
    phase: Phase | None = None
    alerts: tuple[Alert, ...] = ()
    alert_state: Mapping[str, Any] | None = None
    callback: CallbackView | None = None

    @property
    def handling(self) -> Handling:
        """How the forecast is handled apart from its computation, without its callback: the secret stays in the row."""
        return Handling.model_construct(
            labels=dict(self.labels), retention_hours=self.retention_hours, alerts=self.alerts
        )


def new_forecast_id() -> str:
    """Return a random id that cannot be guessed."""
    return f"fc_{secrets.token_hex(12)}"


def insert_forecast(
    connection: Connection,
    forecast_id: str,
    owner: str,
    request: ForecastRequest,
    num_lead_times: int,
    idempotency_key: str | None = None,
    expected_bytes: int | None = None,
    priority: Priority = Priority.NORMAL,
    mode: Mode | None = None,
    handling: Handling = PLAIN,
    place: tuple[str, int] | None = None,
) -> ForecastRecord:
    """Insert the rows of a forecast and of its groups, and return the record; the deadline counts from now.

    Without a `mode`, it is settled by the worker that claims the forecast first. `place` is the id of the batch whose
    part it is, and the index in it.

    If `owner` has used `idempotency_key` before, nothing is inserted and the earlier forecast is returned, which has
    another id. Raises `IdempotencyError` if the key was used for another request.
    """
    row = _new_row(forecast_id, owner, request, num_lead_times) | _handling_columns(request, handling)
    row |= {"idempotency_key": idempotency_key, "expected_bytes": expected_bytes, "priority": priority}
    row |= {"mode": None if mode is None else mode.model_dump()}
    row["batch_id"], row["batch_index"] = place or (None, None)
    groups = [
        {"forecast_id": forecast_id, "kind": Kind.GROUP, "group_index": index} for index in range(request.num_groups)
    ]
    try:
        with connection.begin_nested():
            connection.execute(insert(forecasts).values(**row, created=now()))
            connection.execute(insert(work), groups)
            _append_acceptance(connection, forecast_id)
            append_audit(connection, Action.SUBMIT, forecast_id)
            if handling.callback is not None:
                append_audit(connection, Action.CALLBACK, forecast_id)
    except IntegrityError:
        if not idempotency_key:
            raise
        earlier = find_by_idempotency_key(connection, owner, idempotency_key, request, handling)
        if earlier is None:
            raise
        return earlier
    return read_forecast(connection, forecast_id, owner)


def copy_callback(connection: Connection, forecast_id: str, new_id: str) -> None:
    """Give a forecast the callback of another one with its secret, which is not read, if that one has any."""
    source = forecasts.alias()
    callback = select(source.c.callback).where(source.c.id == forecast_id)
    has_callback = exists(callback.where(source.c.callback.is_not(None)))
    change = update(forecasts).where(forecasts.c.id == new_id, has_callback)
    if connection.execute(change.values(callback=callback.scalar_subquery())).rowcount:
        append_audit(connection, Action.CALLBACK, new_id)


def _new_row(forecast_id: str, owner: str, request: ForecastRequest, num_lead_times: int) -> dict[str, Any]:
    """Return the columns of a new forecast that follow from its request."""
    return {
        "id": forecast_id,
        "owner": owner,
        "request": request.model_dump(mode="json"),
        "status": Status.ACCEPTED,
        "num_lead_times": num_lead_times,
        "deadline": None if request.deadline_seconds is None else now() + request.deadline_seconds,
        "model": request.checkpoint,
        "checkpoint_digest": request.checkpoint_digest,
        "group_size": request.group_size,
        "num_groups": request.num_groups,
        "nfe": request.sampling.nfe,
        "evaluations": request.count_evaluations(num_lead_times),
        "number": func.coalesce(select(usage.c.accepted).where(usage.c.owner == owner).scalar_subquery(), 0) + 1,
    }


def _handling_columns(request: ForecastRequest, handling: Handling) -> dict[str, Any]:
    """Return the columns of a new forecast that follow from how it is handled."""
    return {
        "request_digest": handling.extend_digest(request.digest),
        "labels": handling.labels or None,
        "alerts": [alert.model_dump() for alert in handling.alerts] or None,
        "retention_hours": handling.retention_hours,
        "callback": None if handling.callback is None else handling.callback.row,
    }


def _append_acceptance(connection: Connection, forecast_id: str) -> None:
    """Insert the first event of a forecast, with the id of the HTTP request that submitted it."""
    request_id = current_request_id()
    detail = {} if request_id is None else {"request_id": request_id}
    append_event(connection, forecast_id, EventKind.ACCEPTED, **detail)


def find_by_idempotency_key(
    connection: Connection, owner: str, idempotency_key: str, request: ForecastRequest, handling: Handling = PLAIN
) -> ForecastRecord | None:
    """Return the forecast that `owner` submitted with this idempotency key, or None.

    Raises `IdempotencyError` if it was submitted with another request, or was to be handled in another way.
    """
    query = select(forecasts).where(forecasts.c.owner == owner, forecasts.c.idempotency_key == idempotency_key)
    row = connection.execute(query).one_or_none()
    if row is not None and row.request_digest != handling.extend_digest(request.digest):
        raise IdempotencyError(
            f"`Idempotency-Key` {idempotency_key!r} was used for another request, forecast {row.id}. Use a new key."
        )
    return None if row is None else record_of(row)


def read_forecast(connection: Connection, forecast_id: str, owner: str | None = None) -> ForecastRecord:
    """Return the record of a forecast; raises `ForecastNotFoundError` if none exists, or `owner` is not its owner."""
    query = select(forecasts).where(forecasts.c.id == forecast_id)
    if owner is not None:
        query = query.where(forecasts.c.owner == owner)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ForecastNotFoundError(f"There is no forecast {forecast_id!r}.")
    return record_of(row)


def read_forecasts(connection: Connection, forecast_ids: Sequence[str]) -> dict[str, ForecastRecord]:
    """Return the records of those of the forecasts that exist, of any owner, by id."""
    query = select(forecasts).where(forecasts.c.id.in_(forecast_ids))
    return {row.id: record_of(row) for row in connection.execute(query)}


def list_forecasts(
    connection: Connection,
    owner: str | None,
    statuses: Collection[Status] | None,
    limit: int,
    before: str | None = None,
    labels: Sequence[tuple[str, str]] = (),
    batch_id: str | None = None,
    model: str | None = None,
) -> list[ForecastRecord]:
    """Return at most `limit` forecasts of an owner, newest first; only those with one of `statuses`, if given.

    They have all of the `labels`, pairs of name and value, and are of the checkpoint `model`, if given. Without an
    owner they are those of all owners.

    `before` is the id of the last forecast of the preceding page; an id of no forecast of the owner gives none. The
    parts of batches are left out, or those of the batch `batch_id` alone are returned.
    """
    query = select(forecasts).where(forecasts.c.batch_id == batch_id)
    if owner is not None:
        query = query.where(forecasts.c.owner == owner)
    if statuses is not None:
        query = query.where(forecasts.c.status.in_(statuses))
    if model is not None:
        query = query.where(forecasts.c.model == model)
    for name, value in labels:
        query = query.where(forecasts.c.labels[name].as_string() == value)
    if before is not None:
        last = forecasts.alias()
        created = select(last.c.created).where(last.c.id == before)
        if owner is not None:
            created = created.where(last.c.owner == owner)
        query = query.where(tuple_(forecasts.c.created, forecasts.c.id) < tuple_(created.scalar_subquery(), before))
    query = query.order_by(forecasts.c.created.desc(), forecasts.c.id.desc()).limit(limit)
    return [record_of(row) for row in connection.execute(query)]


def cancel_forecast(connection: Connection, forecast_id: str, owner: str) -> ForecastRecord:
    """Cancel a forecast that waits or runs, so that none of its work is claimed or committed any more.

    Raises `ForecastNotFoundError`, or `ForecastOverError` if it has ended.
    """
    changed = connection.execute(
        update(forecasts)
        .where(forecasts.c.id == forecast_id, forecasts.c.owner == owner, forecasts.c.status.in_(OPEN))
        .values(status=Status.DISMISSED, finished=END_TIME)
    )
    if changed.rowcount:
        append_event(connection, forecast_id, EventKind.DISMISSED)
        append_audit(connection, Action.CANCEL, forecast_id)
    record = read_forecast(connection, forecast_id, owner)
    if not changed.rowcount:
        raise ForecastOverError(f"Forecast {forecast_id} has ended: it is {record.status}.")
    return record


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "request": ForecastRequest.model_validate,
    "status": Status,
    "priority": Priority,
    "data": Data,
    "mode": Mode.parse,
    "alerts": parse_alerts,
    "callback": CallbackView.parse,
    "phase": lambda phase: None if phase is None else Phase(phase),
    "labels": lambda labels: labels or {},
}


def record_of(row: Row[Any]) -> ForecastRecord:
    """Return the record of a row of `forecast`."""
    columns = row._mapping
    values = {field.name: columns[field.name] for field in fields(ForecastRecord)}
    return ForecastRecord(**values | {name: parse(values[name]) for name, parse in _PARSERS.items()})
