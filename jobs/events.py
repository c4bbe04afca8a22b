"""Events of forecasts, stored in order as rows, so that a client that connects late reads all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from jobs.rows.clock import now
from jobs.rows.states import EventKind
from jobs.rows.tables import events

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
    query = select(events).where(events.c.forecast_id == forecast_id, events.c.id > last_id).order_by(events.c.id)
    return [Event(row.id, EventKind(row.kind), row.detail, row.created) for row in connection.execute(query)]
