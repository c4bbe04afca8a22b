"""Rows of schedules: forecasts that are submitted by themselves, each time there is a new analysis."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from jobs.audit import Action, append_audit
from jobs.errors import IdempotencyError, LimitExceededError, LimitState, ScheduleNotFoundError
from jobs.rows.clock import now
from jobs.rows.pages import select_newest
from jobs.rows.schedule_tables import schedule_runs, schedules
from jobs.rows.states import ScheduleState
from jobs.rows.tables import api_keys
from jobs.schedule_cycles import Rhythm
from storage.errors import ConfigurationError


@dataclass(frozen=True)
class Plan:
    """What a schedule submits and when, as its owner sets it.

    `start` and `stop` are the first and the last initial time; `forecast` is the body without initial state, with the
    secret of its callback. `catch_up` is the number of cycles whose time has passed that are still submitted.
    """

    name: str
    dataset: str
    every_hours: int
    offset_hours: int
    start: int
    stop: int | None
    catch_up: int
    wait_hours: float
    late_hours: float
    verify: bool
    forecast: Mapping[str, Any]

    @property
    def rhythm(self) -> Rhythm:
        """The cycles."""
        return Rhythm(self.every_hours, self.offset_hours)

    @property
    def first_cycle(self) -> int | None:
        """The first cycle, or None if there is none."""
        cycle = self.rhythm.first_from(self.start)
        return None if self.stop is not None and cycle > self.stop else cycle


@dataclass(frozen=True)
class ScheduleRecord:
    """The row of a schedule; `next_cycle` is the next initial time, and `reason` is why it is stopped."""

    id: str
    owner: str
    source: str
    plan: Plan
    state: ScheduleState
    reason: str | None
    next_cycle: int | None
    created: float
    changed: float


def insert_schedule(
    connection: Connection,
    owner: str,
    plan: Plan,
    digest: str,
    idempotency_key: str | None = None,
    source: str = "api",
    at_most: int | None = None,
) -> tuple[ScheduleRecord, bool]:
    """Insert a schedule and return it, and whether it is new.

    If `owner` has used `idempotency_key` for the same request before, the earlier schedule is returned. Raises
    `IdempotencyError` if it was another request, `ConfigurationError` if the owner has a schedule of this name, and
    `LimitExceededError` if it is an API key that has `at_most` schedules.
    """
    earlier = _find_by_key(connection, owner, idempotency_key, digest) if idempotency_key else None
    if earlier is not None:
        return earlier, False
    schedule_id = f"sc_{secrets.token_hex(12)}"
    row: dict[str, Any] = {
        "id": schedule_id,
        "owner": owner,
        "idempotency_key": idempotency_key,
        "request_digest": digest,
    }
    row |= {"source": source, "state": ScheduleState.ACTIVE, "next_cycle": plan.first_cycle, **asdict(plan)}
    try:
        with connection.begin_nested():
            connection.execute(insert(schedules).values(**row, created=now(), changed=now()))
    except IntegrityError:
        earlier = _find_by_key(connection, owner, idempotency_key, digest) if idempotency_key else None
        if earlier is None:
            raise _name_error(plan.name) from None
        return earlier, False
    _check_number(connection, owner, at_most)
    append_audit(connection, Action.CREATE_SCHEDULE, schedule_id)
    return read_schedule(connection, schedule_id, owner), True


def _check_number(connection: Connection, owner: str, at_most: int | None) -> None:
    """Raise `LimitExceededError` if an API key has more schedules than it may; only its own transactions add any.

    The row of the key is locked, so that two transactions do not count the same free place.
    """
    key = connection.execute(select(api_keys.c.id).where(api_keys.c.id == owner).with_for_update()).one_or_none()
    if at_most is None or key is None:
        return
    number = count_schedules(connection, owner)
    if number > at_most:
        raise LimitExceededError(
            f"This API key has {number - 1} schedules, of at most {at_most}. Delete one of them.",
            LimitState("schedules", at_most, number - 1),
        )


def _find_by_key(connection: Connection, owner: str, idempotency_key: str, digest: str) -> ScheduleRecord | None:
    query = select(schedules).where(schedules.c.owner == owner, schedules.c.idempotency_key == idempotency_key)
    row = connection.execute(query).one_or_none()
    if row is not None and row.request_digest != digest:
        raise IdempotencyError(
            f"`Idempotency-Key` {idempotency_key!r} was used for another request, schedule {row.id}. Use a new key."
        )
    return None if row is None else record_of(row)


def _name_error(name: str) -> ConfigurationError:
    return ConfigurationError(f"`name` must be one that none of your schedules has. Got: {name!r}.", ("name",))


def count_schedules(connection: Connection, owner: str) -> int:
    """Return the number of schedules of an owner."""
    return int(connection.scalar(select(func.count()).where(schedules.c.owner == owner)) or 0)


def read_schedule(connection: Connection, schedule_id: str, owner: str) -> ScheduleRecord:
    """Return a schedule; raise `ScheduleNotFoundError` if none exists, or `owner` is not its owner."""
    query = select(schedules).where(schedules.c.id == schedule_id, schedules.c.owner == owner)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ScheduleNotFoundError(f"There is no schedule {schedule_id!r}.")
    return record_of(row)


def list_schedules(
    connection: Connection, owner: str, limit: int | None = None, before: str | None = None
) -> list[ScheduleRecord]:
    """Return at most `limit` schedules of an owner, newest first.

    `before` is the id of the last schedule of the preceding page; an id of no schedule of the owner gives none.
    """
    query = select_newest(schedules, owner, limit, before)
    return [record_of(row) for row in connection.execute(query)]


def list_file_schedules(connection: Connection) -> list[ScheduleRecord]:
    """Return the schedules of the configuration, of all owners."""
    query = select(schedules).where(schedules.c.source == "file").order_by(schedules.c.created, schedules.c.id)
    return [record_of(row) for row in connection.execute(query)]


def change_schedule(connection: Connection, schedule: ScheduleRecord, plan: Plan) -> ScheduleRecord:
    """Give a schedule another plan and return it; runs that exist keep their initial times.

    Raises `ScheduleNotFoundError` if it is gone, and `ConfigurationError` if the name is taken.
    """
    values = asdict(plan) | {"next_cycle": _cycle_after_change(connection, schedule, plan)}
    try:
        with connection.begin_nested():
            connection.execute(update(schedules).where(schedules.c.id == schedule.id).values(**values, changed=now()))
    except IntegrityError:
        raise _name_error(plan.name) from None
    append_audit(connection, Action.CHANGE_SCHEDULE, schedule.id)
    return read_schedule(connection, schedule.id, schedule.owner)


def _cycle_after_change(connection: Connection, schedule: ScheduleRecord, plan: Plan) -> int | None:
    """Return the first cycle of a plan after the runs that exist."""
    newest = connection.scalar(
        select(func.max(schedule_runs.c.init_time)).where(schedule_runs.c.schedule_id == schedule.id)
    )
    first = plan.start if newest is None else max(plan.start, newest + 1)
    return replace(plan, start=first).first_cycle


def set_state(
    connection: Connection, schedule: ScheduleRecord, state: ScheduleState, reason: str | None = None
) -> ScheduleRecord:
    """Pause, resume or stop a schedule, and return it.

    A schedule that is resumed goes on with the newest cycle; those of the pause have no runs.
    """
    values: dict[str, Any] = {"state": state, "reason": reason}
    if state == ScheduleState.ACTIVE and schedule.state != ScheduleState.ACTIVE and schedule.next_cycle is not None:
        time = float(connection.scalar(select(now())) or 0.0)
        newest = schedule.plan.rhythm.last_until(time)
        values["next_cycle"] = max(schedule.next_cycle, newest)
    connection.execute(update(schedules).where(schedules.c.id == schedule.id).values(**values, changed=now()))
    append_audit(connection, Action.CHANGE_SCHEDULE, schedule.id)
    return read_schedule(connection, schedule.id, schedule.owner)


def delete_schedule(connection: Connection, schedule_id: str, owner: str) -> None:
    """Delete a schedule and its runs; its forecasts are kept. Raises `ScheduleNotFoundError`."""
    gone = connection.execute(delete(schedules).where(schedules.c.id == schedule_id, schedules.c.owner == owner))
    if not gone.rowcount:
        raise ScheduleNotFoundError(f"There is no schedule {schedule_id!r}.")
    append_audit(connection, Action.DELETE_SCHEDULE, schedule_id)


def record_of(row: Any) -> ScheduleRecord:
    """Return the record of a row of `schedule`."""
    plan = Plan(**{name: row._mapping[name] for name in Plan.__dataclass_fields__})
    return ScheduleRecord(
        row.id,
        row.owner,
        row.source,
        plan,
        ScheduleState(row.state),
        row.reason,
        row.next_cycle,
        row.created,
        row.changed,
    )
