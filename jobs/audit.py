"""The audit log: who changed what, when and from where, written in the transaction of the change itself."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from jobs.logs import current_request_id
from jobs.rows.clock import now, time_of_query
from jobs.rows.states import Role
from jobs.rows.tables import audit

MAX_REFUSED = 100_000
"""Largest number of rows of refused requests that are kept."""

_DONE = "done"


class Action(StrEnum):
    """What an entry of the audit log is about."""

    SUBMIT = "submit"
    REPLAY = "replay"
    CANCEL = "cancel"
    DELETE = "delete"
    VERIFY = "verify"
    RESTART = "restart"
    CALLBACK = "callback"
    KEEP_STATE = "keep_state"
    SCHEDULE = "schedule"
    CREATE_SCHEDULE = "create_schedule"
    CHANGE_SCHEDULE = "change_schedule"
    DELETE_SCHEDULE = "delete_schedule"
    CREATE_KEY = "create_key"
    LIMIT_KEY = "limit_key"
    ROTATE_KEY = "rotate_key"
    REVOKE_KEY = "revoke_key"
    REFUSED = "refused"


@dataclass(frozen=True)
class Actor:
    """Who changes something: the id of an API key, or `local`, or `cli` for the command line of the service's machine.

    Its submissions are entries of the action `submission`.
    """

    id: str
    role: Role | None = None
    address: str | None = None
    submission: Action = Action.SUBMIT


COMMAND_LINE = Actor("cli")

_actor: ContextVar[Actor | None] = ContextVar("actor", default=None)


@dataclass(frozen=True)
class AuditEntry:
    """An entry of the audit log; `number` requests were refused, else it is 1.

    `subject` is the id of the forecast, batch, initial state or key that was changed; `outcome` is `done`, or the
    status of a refusal.
    """

    id: int
    time: float
    actor: str
    role: str | None
    action: Action
    subject: str | None
    address: str | None
    request_id: str | None
    outcome: str
    number: int


@dataclass(frozen=True)
class Refusal:
    """Requests that are counted together: of one actor (empty if unknown) and address, with the same status."""

    actor: str
    role: str | None
    address: str
    status: int


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Name who makes the changes of the block, also in threads that run in a copy of its context."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


@contextmanager
def submitting_as(action: Action) -> Iterator[None]:
    """Note submissions of the block as entries of another action, such as `replay`."""
    actor = _actor.get()
    if actor is None:
        yield
    else:
        with acting_as(replace(actor, submission=action)):
            yield


def append_audit(connection: Connection, action: Action, subject: str) -> None:
    """Insert an entry of a change by the current actor; without one, such as in a worker, nothing is inserted."""
    actor = _actor.get()
    if actor is not None:
        action = actor.submission if action == Action.SUBMIT else action
        values: dict[str, Any] = {"actor": actor.id, "role": actor.role, "address": actor.address, "subject": subject}
        values |= {"action": action, "outcome": _DONE, "number": 1, "request_id": current_request_id()}
        connection.execute(insert(audit).values(**values, time=now()))


def append_refusals(connection: Connection, refusals: Mapping[Refusal, int]) -> None:
    """Insert one entry for each kind of refused requests."""
    for refusal, number in refusals.items():
        values: dict[str, Any] = {"actor": refusal.actor, "role": refusal.role, "address": refusal.address}
        values |= {"action": Action.REFUSED, "outcome": str(refusal.status)}
        connection.execute(insert(audit).values(**values, number=number, time=now()))


def list_audit(
    connection: Connection,
    limit: int,
    *,
    since: float | None = None,
    actor: str | None = None,
    before: int | None = None,
) -> list[AuditEntry]:
    """Return at most `limit` entries, newest first.

    They are not older than `since`, of one actor, and have smaller ids than `before`, if these are given.
    """
    query = select(audit)
    if since is not None:
        query = query.where(audit.c.time >= since)
    if actor is not None:
        query = query.where(audit.c.actor == actor)
    if before is not None:
        query = query.where(audit.c.id < before)
    rows = connection.execute(query.order_by(audit.c.id.desc()).limit(limit)).mappings()
    return [_entry({field.name: row[field.name] for field in fields(AuditEntry)}) for row in rows]


def delete_old_audit(connection: Connection, days: float, max_refused: int = MAX_REFUSED) -> None:
    """Delete entries that are older than so many days, and the oldest refusals beyond `max_refused` entries."""
    connection.execute(delete(audit).where(audit.c.time < time_of_query() - days * 86400))
    is_refused = audit.c.action == Action.REFUSED
    newest = select(audit.c.id).where(is_refused).order_by(audit.c.id.desc())
    last = connection.scalar(newest.offset(max_refused).limit(1))
    if last is not None:
        connection.execute(delete(audit).where(is_refused, audit.c.id <= last))


def _entry(values: dict[str, Any]) -> AuditEntry:
    return AuditEntry(**values | {"action": Action(values["action"])})
