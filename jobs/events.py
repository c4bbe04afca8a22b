"""Events of forecasts, stored in order as rows, so that a client that connects late reads all of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select

from jobs.deliveries import add_delivery
from jobs.rows.clock import now, time_of_query
from jobs.rows.states import OPEN, EventKind
from jobs.rows.tables import events, forecasts

_MAX_CONDITIONS = 200
"""Conditions of one statement, of which SQLite accepts less than a thousand."""

_KEEP_SECONDS = 7 * 86400.0
"""Seconds for which the events of lead times are kept at least."""

_OVERLAP_SECONDS = 30.0
"""Seconds for which a transaction that appends an event may last: longer than the server allows."""

_APPEND = insert(events).values(created=now())


@dataclass(frozen=True)
class Event:
    """One event of a forecast; `id` increases with time over all forecasts."""

    id: int
    kind: EventKind
    detail: Mapping[str, Any]
    created: float


def append_event(connection: Connection, forecast_id: str, kind: EventKind, **detail: Any) -> None:
    """Append an event to a forecast, and its delivery, in the transaction of the change that the event reports."""
    connection.execute(_APPEND, {"forecast_id": forecast_id, "kind": kind, "detail": detail})
    add_delivery(connection, forecast_id, kind, detail)


def list_events(connection: Connection, forecast_id: str, last_id: int = 0) -> list[Event]:
    """Return the events of a forecast whose id is greater than `last_id`, oldest first."""
    return list_new_events(connection, [(forecast_id, last_id)]).get((forecast_id, last_id), [])


def list_new_events(connection: Connection, positions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], list[Event]]:
    """Return, for each pair of a forecast and a last id, its events with a greater id, oldest first.

    Pairs without such events are left out.
    """
    last_ids: defaultdict[str, list[int]] = defaultdict(list)
    for forecast_id, last_id in positions:
        last_ids[forecast_id].append(last_id)
    conditions = [and_(events.c.forecast_id == key, events.c.id > min(ids)) for key, ids in last_ids.items()]
    found: defaultdict[tuple[str, int], list[Event]] = defaultdict(list)
    for start in range(0, len(conditions), _MAX_CONDITIONS):
        is_new = or_(*conditions[start : start + _MAX_CONDITIONS])
        for row in connection.execute(select(events).where(is_new).order_by(events.c.id)):
            event = Event(row.id, EventKind(row.kind), row.detail, row.created)
            for last_id in last_ids[row.forecast_id]:
                if event.id > last_id:
                    found[row.forecast_id, last_id].append(event)
    return dict(found)


@dataclass(frozen=True)
class PartEvents:
    """New events of the parts of a batch, each with the id and the index of the part; `has_ended`: all parts have."""

    events: list[tuple[str, int, Event]]
    has_ended: bool


def list_part_events(connection: Connection, batch_id: str, positions: dict[str, int], first_id: int) -> PartEvents:
    """Return the new events of all parts of a batch in order of their ids, and update `positions`.

    `positions` are the last ids of the parts by their own ids; a part that is not in it begins after `first_id`. Events
    of several forecasts do not always appear in the order of their ids, so that one position would not be enough.
    """
    query = select(forecasts.c.id, forecasts.c.batch_index, forecasts.c.status).where(forecasts.c.batch_id == batch_id)
    parts = {row.id: row for row in connection.execute(query)}
    current = [(part, positions.get(part, first_id)) for part in parts]
    found = []
    for (part, _), new in list_new_events(connection, current).items():
        found += [(part, parts[part].batch_index, event) for event in new]
        positions[part] = new[-1].id
    for part in parts:
        positions.setdefault(part, first_id)
    return PartEvents(
        sorted(found, key=lambda item: item[2].id), all(part.status not in OPEN for part in parts.values())
    )


def resume_positions(connection: Connection, batch_id: str, last_id: int) -> dict[str, int]:
    """Return the positions after which a client continues that received the event `last_id` of a batch.

    On PostgreSQL they are some seconds before: there an event with a smaller id may have appeared later.
    """
    position: ColumnElement[Any] = func.coalesce(func.max(events.c.id), 0)
    query = select(forecasts.c.id, position).outerjoin(events, _is_seen(connection, last_id))
    query = query.where(forecasts.c.batch_id == batch_id).group_by(forecasts.c.id)
    return {forecast_id: int(found) for forecast_id, found in connection.execute(query)}


def _is_seen(connection: Connection, last_id: int) -> ColumnElement[bool]:
    """Return the condition of events of forecasts that were certainly there when the event `last_id` was."""
    seen = and_(events.c.forecast_id == forecasts.c.id, events.c.id <= last_id)
    if connection.dialect.name == "sqlite":
        return seen
    last = events.alias()
    created = select(last.c.created).where(last.c.id == last_id).scalar_subquery()
    return and_(seen, events.c.created < func.coalesce(created, now()) - _OVERLAP_SECONDS)


def read_submission(connection: Connection, forecast_id: str) -> dict[str, str]:
    """Return the id of the request that submitted a forecast, as `request_id`; empty if it was no HTTP request."""
    accepted = select(events.c.detail).where(events.c.forecast_id == forecast_id, events.c.kind == EventKind.ACCEPTED)
    detail = connection.scalar(accepted.order_by(events.c.id).limit(1)) or {}
    return {"request_id": detail["request_id"]} if "request_id" in detail else {}


def delete_old_events(connection: Connection, at_most: int = 5000) -> int:
    """Delete events of lead times that are older than a week, of forecasts that have ended, and return their number.

    The events of a forecast's status are kept. At most `at_most` events are deleted, so that others wait only shortly.
    """
    old = (
        select(events.c.id)
        .join(forecasts)
        .where(events.c.kind == EventKind.LEAD_TIME, events.c.created < time_of_query() - _KEEP_SECONDS)
        .where(forecasts.c.status.not_in(OPEN))
    )
    return connection.execute(delete(events).where(events.c.id.in_(old.limit(at_most)))).rowcount
