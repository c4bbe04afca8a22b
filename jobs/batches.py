"""Rows of batches: forecasts that are submitted, read and cancelled together, and its parts."""

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from jobs.audit import Action, append_audit
from jobs.errors import BatchNotFoundError, BatchOverError, IdempotencyError
from jobs.events import append_event
from jobs.forecasts import ForecastRecord, copy_callback, insert_forecast, record_of
from jobs.limits import Admission, NewForecast, lock_queue
from jobs.planning.plans import Plan
from jobs.rows.clock import now
from jobs.rows.database import Database
from jobs.rows.end_time import END_TIME
from jobs.rows.pages import select_newest
from jobs.rows.states import OPEN, Data, EventKind, Priority, Status
from jobs.rows.tables import batches, forecasts


@dataclass(frozen=True)
class BatchRecord:
    """The row of a batch; `request` is the body that submits it again, `init_times` those of its parts in order."""

    id: str
    owner: str
    request: Mapping[str, Any]
    init_times: tuple[str, ...]
    created: float


@dataclass(frozen=True)
class NewBatch:
    """A batch that is submitted; `digest` is that of the request as it was sent."""

    id: str
    owner: str
    request: Mapping[str, Any]
    digest: str
    idempotency_key: str | None
    priority: Priority

    @classmethod
    def of(
        cls,
        owner: str,
        request: Mapping[str, Any],
        digest: str,
        idempotency_key: str | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> Self:
        """Return a batch with a random id that cannot be guessed."""
        return cls(f"ba_{secrets.token_hex(12)}", owner, request, digest, idempotency_key, priority)


def digest_of(request: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a request of a batch."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def insert_batch_if_admitted(
    database: Database, batch: NewBatch, parts: Sequence[tuple[str, Plan]], admission: Admission | None
) -> BatchRecord:
    """Insert the rows of a batch and of its parts, pairs of id and plan, and check `admission`, in one transaction.

    Returns the batch. If its owner has used its idempotency key for the same request before, nothing is inserted and
    the earlier batch is returned, which has another id. Raises `IdempotencyError` if it was another request, and the
    errors of `admission`: then nothing is inserted.
    """
    with database.write() as connection:
        record = _insert_batch(connection, batch, [plan.request.init_time for _, plan in parts])
        if record.id != batch.id:
            return record
        append_audit(connection, Action.SUBMIT, batch.id)
        for index, (forecast_id, plan) in enumerate(parts):
            insert_part(connection, forecast_id, plan, record, index, batch.priority)
        if admission is not None:
            lock_queue(connection)
            new = NewForecast.of(parts[0][1], batch.priority, len(parts))
            admission.check(connection, batch.owner, new, is_counted=True)
    return record


def insert_part(
    connection: Connection, forecast_id: str, plan: Plan, batch: BatchRecord, index: int, priority: Priority
) -> None:
    """Insert the rows of a part of a batch; its index must be free."""
    insert_forecast(
        connection,
        forecast_id,
        batch.owner,
        plan.request,
        plan.layout.num_lead_times,
        expected_bytes=plan.expected_bytes,
        priority=priority,
        mode=plan.mode,
        handling=plan.handling,
        place=(batch.id, index),
    )


def _insert_batch(connection: Connection, batch: NewBatch, init_times: Sequence[str]) -> BatchRecord:
    row = {
        "id": batch.id,
        "owner": batch.owner,
        "idempotency_key": batch.idempotency_key,
        "request_digest": batch.digest,
        "request": batch.request,
        "init_times": init_times,
    }
    try:
        with connection.begin_nested():
            connection.execute(insert(batches).values(**row, created=now()))
    except IntegrityError:
        key = batch.idempotency_key
        earlier = find_batch_by_key(connection, batch.owner, key, batch.digest) if key else None
        if earlier is None:
            raise
        return earlier
    return read_batch(connection, batch.id, batch.owner)


def find_batch_by_key(connection: Connection, owner: str, idempotency_key: str, digest: str) -> BatchRecord | None:
    """Return the batch that `owner` submitted with this idempotency key, or None.

    Raises `IdempotencyError` if it was submitted with another request.
    """
    query = select(batches).where(batches.c.owner == owner, batches.c.idempotency_key == idempotency_key)
    row = connection.execute(query).one_or_none()
    if row is not None and row.request_digest != digest:
        raise IdempotencyError(
            f"`Idempotency-Key` {idempotency_key!r} was used for another request, batch {row.id}. Use a new key."
        )
    return None if row is None else _record(row)


def read_batch(connection: Connection, batch_id: str, owner: str) -> BatchRecord:
    """Return the record of a batch; raises `BatchNotFoundError` if none exists, or `owner` is not its owner."""
    row = connection.execute(select(batches).where(batches.c.id == batch_id, batches.c.owner == owner)).one_or_none()
    if row is None:
        raise BatchNotFoundError(f"There is no batch {batch_id!r}.")
    return _record(row)


def list_batches(connection: Connection, owner: str, limit: int, before: str | None = None) -> list[BatchRecord]:
    """Return at most `limit` batches of an owner, newest first.

    `before` is the id of the last batch of the preceding page; an id of no batch of the owner gives none.
    """
    query = select_newest(batches, owner, limit, before)
    return [_record(row) for row in connection.execute(query)]


def read_parts(connection: Connection, batch_ids: Collection[str]) -> dict[str, list[ForecastRecord]]:
    """Return the parts of batches by the id of the batch, in their order."""
    parts: dict[str, list[ForecastRecord]] = {batch_id: [] for batch_id in batch_ids}
    query = select(forecasts).where(forecasts.c.batch_id.in_(batch_ids))
    for row in connection.execute(query.order_by(forecasts.c.batch_id, forecasts.c.batch_index)):
        parts[row.batch_id].append(record_of(row))
    return parts


def replace_parts(
    database: Database,
    batch: BatchRecord,
    parts: Sequence[tuple[ForecastRecord, str, Plan, Priority]],
    admission: Admission | None,
) -> bool:
    """Insert forecasts in place of failed or cancelled parts, which leave the batch; return whether it was possible.

    They have the callbacks of the earlier ones. Each of `parts` is the earlier forecast, and id, plan and priority of
    the new one. If any of the earlier ones is not such a part any more, nothing is changed. Raises the errors of
    `admission`: then nothing is changed either.
    """
    ids = [earlier.id for earlier, *_ in parts]
    ended = (forecasts.c.batch_id == batch.id, forecasts.c.status.in_((Status.FAILED, Status.DISMISSED)))
    with database.write() as connection:
        earlier_ones = select(forecasts.c.id).where(forecasts.c.id.in_(ids), *ended).order_by(forecasts.c.batch_index)
        if len(connection.scalars(earlier_ones.with_for_update()).all()) != len(ids):
            return False
        released = {"batch_id": None, "batch_index": None}
        connection.execute(update(forecasts).where(forecasts.c.id.in_(ids)).values(**released))
        for earlier, forecast_id, plan, priority in parts:
            assert earlier.batch_index is not None
            insert_part(connection, forecast_id, plan, batch, earlier.batch_index, priority)
            copy_callback(connection, earlier.id, forecast_id)
        append_audit(connection, Action.RESTART, batch.id)
        if admission is not None:
            lock_queue(connection)
            _, _, plan, priority = parts[0]
            admission.check(connection, batch.owner, NewForecast.of(plan, priority, len(parts)), is_counted=True)
    return True


def find_part(connection: Connection, batch_id: str, index: int) -> ForecastRecord | None:
    """Return the part of a batch at an index, or None."""
    place = forecasts.c.batch_id == batch_id, forecasts.c.batch_index == index
    row = connection.execute(select(forecasts).where(*place)).one_or_none()
    return None if row is None else record_of(row)


def has_data(connection: Connection, batch_id: str) -> bool:
    """Return whether the data of any part of a batch is available."""
    available = select(forecasts.c.id).where(forecasts.c.batch_id == batch_id, forecasts.c.data == Data.AVAILABLE)
    return connection.scalar(available.limit(1)) is not None


def cancel_batch(connection: Connection, batch_id: str, owner: str) -> None:
    """Cancel all parts of a batch that wait or run, as `cancel_forecast` does.

    Raises `BatchNotFoundError`, or `BatchOverError` if all parts have ended.
    """
    read_batch(connection, batch_id, owner)
    is_open = (forecasts.c.batch_id == batch_id, forecasts.c.status.in_(OPEN))
    parts = select(forecasts.c.id).where(*is_open).order_by(forecasts.c.batch_index)
    ids = list(connection.scalars(parts.with_for_update()))  # before the row of `usage`, as a worker that commits
    cancelled = 0
    for forecast_id in ids:
        changed = connection.execute(
            update(forecasts)
            .where(forecasts.c.id == forecast_id, *is_open)
            .values(status=Status.DISMISSED, finished=END_TIME)
        )
        if changed.rowcount:
            cancelled += 1
            append_event(connection, forecast_id, EventKind.DISMISSED)
            append_audit(connection, Action.CANCEL, forecast_id)
    if not cancelled:
        raise BatchOverError(f"All forecasts of batch {batch_id} have ended.")
    append_audit(connection, Action.CANCEL, batch_id)


def _record(row: Row[Any]) -> BatchRecord:
    return BatchRecord(row.id, row.owner, row.request, tuple(row.init_times), row.created)
