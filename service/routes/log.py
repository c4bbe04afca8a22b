"""The route of the log of a forecast, as JSON lines."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from jobs.events import list_events
from service.dependencies import OwnForecast, ServiceDep
from service.forecast_log import log_lines, parse_since
from service.problems import PROBLEM_RESPONSES
from service.threads import READERS, in_threads

router = APIRouter(tags=["forecasts"], responses=PROBLEM_RESPONSES)

JSON_LINES = "application/x-ndjson"
_RESPONSES: dict[int | str, dict[str, Any]] = {200: {"content": {JSON_LINES: {}}, "description": "One line each"}}


@router.get("/forecast/{forecast_id}/log", response_class=Response, responses=_RESPONSES)
@router.head("/forecast/{forecast_id}/log", include_in_schema=False)
@in_threads(READERS)
def read_log(
    record: OwnForecast,
    service: ServiceDep,
    since: Annotated[
        str, Query(max_length=40, description="The `id` of a line, or a time in UTC: only later lines.")
    ] = "0",
) -> Response:
    """Return what has happened to a forecast: a JSON object in each line, oldest first."""
    is_later = parse_since(since)
    with service.database.read() as connection:
        events = list_events(connection, record.id)
    lines = [line.model_dump_json() for line in log_lines(record, events) if is_later(line)]
    return Response("".join(f"{line}\n" for line in lines), media_type=JSON_LINES)
