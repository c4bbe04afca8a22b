"""A forecast's events as they come (server-sent events); a listener that comes back misses none."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from jobs.events import Event, events_since
from jobs.forecasts import look_up
from jobs.states import OPEN
from service.callers import OwnForecast
from service.context import Service, ServiceHere
from service.problems import DOCUMENTED

router = APIRouter(tags=["forecasts"], responses=DOCUMENTED)

_LOOK_SECONDS = 0.5
_LONGEST_SECONDS = 3600.0


@router.get("/forecast/{forecast_id}/events", response_class=EventSourceResponse)
async def events(
    record: OwnForecast,
    service: ServiceHere,
    last_event_id: Annotated[int, Header(alias="Last-Event-ID", ge=0, lt=2**63)] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Send all events after `Last-Event-ID`, then each new one, and end with the forecast."""
    seen, ends = last_event_id, time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < ends:
        over, new = await run_in_threadpool(_look, service, record.id, seen)
        for event in new:
            seen = event.id
            yield ServerSentEvent(event=event.kind, id=str(event.id), data=dict(event.detail), retry=2000)
        if over:
            return
        await anyio.sleep(_LOOK_SECONDS)


def _look(service: Service, forecast_id: str, seen: int) -> tuple[bool, list[Event]]:
    """Return whether the forecast had ended before its new events were read, and these."""
    over = look_up(service.database, forecast_id).status not in OPEN
    with service.database.read() as connection:
        return over, events_since(connection, forecast_id, seen)
