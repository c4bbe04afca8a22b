"""Stream the events of a forecast (server-sent events); a client that reconnects misses none."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.datastructures import Headers

from jobs.rows.states import OPEN, EventKind
from service.dependencies import OwnForecast, Service, ServiceDep
from service.problems import PROBLEM_RESPONSES

router = APIRouter(tags=["forecasts"], responses=PROBLEM_RESPONSES)

POLL_SECONDS = 0.5
KEY_SECONDS = 2.0
"""Seconds after which the key of an open stream is checked again."""
MAX_STREAM_SECONDS = 3600.0
_LAST_EVENTS = {EventKind.SUCCESSFUL, EventKind.FAILED, EventKind.DISMISSED}
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""The headers that FastAPI adds to server-sent events."""


async def turns(service: Service, headers: Headers) -> AsyncIterator[None]:
    """Yield each time at which a stream may send events: at once, then again and again.

    It ends after the longest time of a stream, and within a few seconds after the key in `headers` became void.
    """
    ends, checked = time.monotonic() + MAX_STREAM_SECONDS, time.monotonic()
    while time.monotonic() < ends:
        yield
        await anyio.sleep(POLL_SECONDS)
        if time.monotonic() - checked > KEY_SECONDS:
            checked = time.monotonic()
            if not await service.callers.is_known(headers):
                return


@router.get("/forecast/{forecast_id}/events", response_class=EventSourceResponse)
async def stream_events(
    record: OwnForecast,
    service: ServiceDep,
    request: Request,
    last_event_id: Annotated[int, Header(alias="Last-Event-ID", ge=0, lt=2**63)] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Send all events after `Last-Event-ID`, then each new one, and close the stream when the forecast ends.

    The stream is also closed within a few seconds after the key was revoked.
    """
    last_id, has_ended = last_event_id, record.status not in OPEN
    async for _ in turns(service, request.headers):
        for event in await service.events.read((record.id, last_id)) or ():
            last_id, has_ended = event.id, has_ended or event.kind in _LAST_EVENTS
            yield ServerSentEvent(event=event.kind, id=str(event.id), data=dict(event.detail), retry=2000)
        if has_ended:
            return


@router.head("/forecast/{forecast_id}/events", include_in_schema=False)
def describe_events(_record: OwnForecast) -> Response:
    """Return the headers of the events of a forecast."""
    return EventSourceResponse((), headers=STREAM_HEADERS)
