"""Stream the events of a forecast (server-sent events); a client that reconnects misses none."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from jobs.events import Event, list_events
from jobs.forecasts import read_forecast
from jobs.rows.states import OPEN
from service.dependencies import OwnForecast, Service, ServiceDep
from service.problems import PROBLEM_RESPONSES

router = APIRouter(tags=["forecasts"], responses=PROBLEM_RESPONSES)

_POLL_SECONDS = 0.5
_MAX_STREAM_SECONDS = 3600.0
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""The headers that FastAPI adds to server-sent events."""


@router.get("/forecast/{forecast_id}/events", response_class=EventSourceResponse)
async def stream_events(
    record: OwnForecast,
    service: ServiceDep,
    last_event_id: Annotated[int, Header(alias="Last-Event-ID", ge=0, lt=2**63)] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Send all events after `Last-Event-ID`, then each new one, and close the stream when the forecast ends."""
    last_id, ends = last_event_id, time.monotonic() + _MAX_STREAM_SECONDS
    while time.monotonic() < ends:
        has_ended, events = await run_in_threadpool(_read_new_events, service, record.id, last_id)
        for event in events:
            last_id = event.id
            yield ServerSentEvent(event=event.kind, id=str(event.id), data=dict(event.detail), retry=2000)
        if has_ended:
            return
        await anyio.sleep(_POLL_SECONDS)


@router.head("/forecast/{forecast_id}/events", include_in_schema=False)
def describe_events(_record: OwnForecast) -> Response:
    """Return the headers of the events of a forecast."""
    return EventSourceResponse((), headers=_STREAM_HEADERS)


def _read_new_events(service: Service, forecast_id: str, last_id: int) -> tuple[bool, list[Event]]:
    """Return whether the forecast has ended, and its events after `last_id`.

    The status is read first: no event can follow those returned with an ended forecast.
    """
    with service.database.read() as connection:
        has_ended = read_forecast(connection, forecast_id).status not in OPEN
        return has_ended, list_events(connection, forecast_id, last_id)
