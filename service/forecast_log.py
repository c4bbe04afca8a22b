"""The log of a forecast for its owner: its events as sentences, without names of hosts, paths or traces of code."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from jobs.events import Event
from jobs.forecasts import ForecastRecord
from jobs.rows.states import DeliveryState, EventKind, Status
from service.views import format_time
from storage.errors import ConfigurationError

Level = Literal["info", "warning", "error"]

_UNITS = {"kn": " kn", "kmh": " km/h"}
_PATH = re.compile(r"(?<![\w/.:])/(?:[^\s/'\"`]+/)+[^\s/'\"`,;:]*")
"""An absolute path with at least one folder."""


class LogLine(BaseModel):
    """A line of the log; `id` is that of the event that it tells of."""

    id: int
    time: str
    level: Level
    kind: str = Field(description="Kind of the event, or `warning`.")
    message: str


def log_lines(record: ForecastRecord, events: Sequence[Event]) -> Iterator[LogLine]:
    """Yield the lines of events of a forecast, in their order."""
    for event in events:
        level, message = _describe(record, event)
        yield LogLine(id=event.id, time=format_time(event.created), level=level, kind=event.kind, message=message)
        for warning in _warnings_of(record, event):
            yield LogLine(
                id=event.id, time=format_time(event.created), level="warning", kind="warning", message=warning
            )


def parse_since(text: str) -> Callable[[LogLine], bool]:
    """Return the condition that a line comes after the id of a line, or after a time, in UTC if it names no zone.

    Raises `ConfigurationError` for other text.
    """
    if re.fullmatch(r"\d{1,18}", text, re.ASCII):
        last = int(text)
        return lambda line: line.id > last
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        message = f"`since` must be the id of a line, or a time such as 2026-11-22T06:00:00Z. Got: {text!r}."
        raise ConfigurationError(message, ("query", "since")) from None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return lambda line: datetime.fromisoformat(line.time) > aware


def _warnings_of(record: ForecastRecord, event: Event) -> Sequence[str]:
    """Return the warnings that belong to an event: those of the initial state, and of lost members."""
    if event.kind == EventKind.ACCEPTED:
        return record.request.warnings
    lost = (record.receipt or {}).get("nonfinite_members", [])
    if event.kind == EventKind.SUCCESSFUL and record.status == Status.SUCCESSFUL and lost:
        return [f"Members {', '.join(map(str, lost))} left the valid range and are NaN from then on."]
    return ()


def _describe(record: ForecastRecord, event: Event) -> tuple[Level, str]:
    """Return the level and the sentence of an event."""
    detail: Mapping[str, Any] = event.detail
    match event.kind:
        case EventKind.ACCEPTED:
            return "info", "The forecast is accepted."
        case EventKind.RUNNING:
            return "info", "A worker has started."
        case EventKind.LEAD_TIME:
            return "info", f"Lead time {detail.get('lead_times')} of {record.num_lead_times} is complete."
        case EventKind.WORKER_LOST:
            done = detail.get("lead_times", 0)
            return "warning", f"A worker was lost; another continues after lead time {done} of {record.num_lead_times}."
        case EventKind.RETRY:
            return "warning", f"A worker has failed ({detail.get('type')}); its work is tried again."
        case EventKind.ALERT:
            return "warning", _describe_alert(detail)
        case EventKind.DELIVERY:
            return _describe_delivery(detail)
        case EventKind.SUCCESSFUL:
            return "info", "The forecast is complete."
        case EventKind.DISMISSED:
            return "warning", "The forecast was cancelled."
        case EventKind.FAILED:
            cause = (record.error or {}).get("detail", "the cause is not known")
            return "error", f"The forecast has failed: {_PATH.sub('…', str(cause))}"


def _describe_alert(detail: Mapping[str, Any]) -> str:
    """Return the sentence of an alert; its place is one of the caller's."""
    place, units = detail.get("place", {}).get("name"), _UNITS.get(detail.get("units", ""), "")
    event = f"{detail.get('variable')} {detail.get('op')} {detail.get('value')}{units}"
    return f"Alert for {place}: {event} at {detail.get('valid_time')} has the probability {detail.get('probability')}."


def _describe_delivery(detail: Mapping[str, Any]) -> tuple[Level, str]:
    """Return the level and the sentence of a delivery that has ended, after so many attempts."""
    name, attempts = detail.get("event"), detail.get("attempts")
    if detail.get("state") == DeliveryState.DELIVERED:
        return "info", f"The callback has received the event {name} ({attempts} attempts)."
    return "warning", f"The callback has not received the event {name} ({attempts} attempts): {detail.get('error')}."
