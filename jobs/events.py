"""What happened to a forecast, in order; rows, so that nobody who listens late misses any."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from jobs.clock import now
from jobs.states import EventKind
from jobs.tables import events

_TELL = insert(events).values(created=now())


@dataclass(frozen=True)
class Event:
    """One event; `id` rises with time over all forecasts."""

    id: int
    kind: EventKind
    detail: Mapping[str, Any]
    created: float


def append_event(connection: Connection, forecast_id: str, kind: EventKind, **detail: Any) -> None:
    """Add an event in the transaction of what it tells."""
    connection.execute(_TELL, {"forecast_id": forecast_id, "kind": kind, "detail": detail})


def list_events(connection: Connection, forecast_id: str, last_id: int = 0) -> list[Event]:
    """Return the events of a forecast after the one with `last_id`, oldest first."""
    query = select(events).where(events.c.forecast_id == forecast_id, events.c.id > last_id).order_by(events.c.id)
    return [Event(row.id, EventKind(row.kind), row.detail, row.created) for row in connection.execute(query)]
