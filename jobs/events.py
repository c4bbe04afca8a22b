"""Events of forecasts, stored in order as rows, so that a client that connects late reads all of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, or_, select

from jobs.rows.clock import now, time_of_query
from jobs.rows.states import OPEN, EventKind
from jobs.rows.tables import events, forecasts

_MAX_CONDITIONS = 200
"""Conditions of one statement, of which SQLite accepts less than a thousand."""

_KEEP_SECONDS = 7 * 86400.0
"""Seconds for which the events of lead times are kept at least."""

_APPEND = insert(events).values(created=now())


@dataclass(frozen=True)
class Event:
    """One event of a forecast; `id` increases with time over all forecasts."""

    id: int
    kind: EventKind
    detail: Mapping[str, Any]
    created: float


def append_event(connection: Connection, forecast_id: str, kind: EventKind, **detail: Any) -> None:
    """Append an event to a forecast, in the transaction of the change that the event reports."""
    connection.execute(_APPEND, {"forecast_id": forecast_id, "kind": kind, "detail": detail})


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
