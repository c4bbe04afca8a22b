"""Stream the events of all parts of a batch (server-sent events); a client that reconnects misses none."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from jobs.events import PartEvents, list_part_events, resume_positions
from service.dependencies import OwnBatch, Service, ServiceDep
from service.problems import PROBLEM_RESPONSES
from service.routes.events import STREAM_HEADERS, turns
from service.threads import READERS, in_threads

router = APIRouter(tags=["batches"], responses=PROBLEM_RESPONSES)


@router.get("/batch/{batch_id}/events", response_class=EventSourceResponse)
async def stream_batch_events(
    batch: OwnBatch,
    service: ServiceDep,
    request: Request,
    last_event_id: Annotated[int, Header(alias="Last-Event-ID", ge=0, lt=2**63)] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Send the events of all parts after `Last-Event-ID`, then each new one, and close when all parts have ended.

    The data of each names the forecast (`forecast_id`) and its index in the batch (`index`). After a reconnection,
    events of the last 30 seconds may be sent again, with the ids that they had.
    """
    positions = await _resume(service, batch.id, last_event_id) if last_event_id else {}
    async for _ in turns(service, request.headers):
        found = await _read(service, batch.id, positions)
        for forecast_id, index, event in found.events:
            data = {"forecast_id": forecast_id, "index": index, **event.detail}
            yield ServerSentEvent(event=event.kind, id=str(event.id), data=data, retry=2000)
        if found.has_ended:
            return


@router.head("/batch/{batch_id}/events", include_in_schema=False)
def describe_batch_events(_batch: OwnBatch) -> Response:
    """Return the headers of the events of a batch."""
    return EventSourceResponse((), headers=STREAM_HEADERS)


@in_threads(READERS)
def _read(service: Service, batch_id: str, positions: dict[str, int]) -> PartEvents:
    with service.database.read() as connection:
        return list_part_events(connection, batch_id, positions, 0)


@in_threads(READERS)
def _resume(service: Service, batch_id: str, last_id: int) -> dict[str, int]:
    with service.database.read() as connection:
        return resume_positions(connection, batch_id, last_id)
