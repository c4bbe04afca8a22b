"""The events of a forecast: server-sent events (WHATWG HTML, section 9.2), followed across restarts of the service."""

import json
import time
from typing import Any, NamedTuple

from warmcast.errors import WaitTimeoutError
from warmcast.exchange import IDENTITY, Emit, Failure, Open, Outage, Read, Request, Service, Steps, forecast_path
from warmcast.forecasts import FINAL, read_status

_KEEP_ALIVE_SECONDS = 45.0


class Event(NamedTuple):
    """An event of a forecast: its kind, such as `lead_time`, and its detail."""

    kind: str
    detail: dict[str, Any]


class EventParser:
    """Parse the bytes of one connection; an event that is cut off by its end is dropped."""

    def __init__(self) -> None:
        self._line = b""
        self._fields: dict[str, str] = {}

    def feed(self, block: bytes) -> list[tuple[str, Event]]:
        """Return the events that end in a block of bytes, each with its id."""
        *lines, self._line = (self._line + block).split(b"\n")
        events = []
        for line in lines:
            text = line.rstrip(b"\r").decode("utf-8", "replace")
            if text:
                name, _, value = text.partition(":")
                self._add(name, value.removeprefix(" "))
            elif self._fields:
                fields, self._fields = self._fields, {}
                if fields.keys() >= {"event", "id", "data"}:
                    events.append((fields["id"], Event(fields["event"], json.loads(fields["data"]))))
        return events

    def _add(self, name: str, value: str) -> None:
        """Add a field of a server-sent event; lines of data are joined by newlines.

        A field with an empty name is a comment and ignored.
        """
        if name == "data" and "data" in self._fields:
            self._fields["data"] += f"\n{value}"
        elif name:
            self._fields[name] = value


def follow_events(service: Service, forecast_id: str, timeout_seconds: float | None = None) -> Steps[None]:
    """Emit each event of a forecast as an `Event`, from the first to the last; none twice."""
    outage, last_id = Outage(service, timeout_seconds), "0"
    while True:
        headers, path = {"Last-Event-ID": last_id, **IDENTITY}, forecast_path(forecast_id, "events")
        answer = yield Open(Request("GET", path, headers=headers, answer_seconds=_KEEP_ALIVE_SECONDS))
        parser, num_events = EventParser(), 0
        if outage.is_available(answer):
            answer.check()
            while isinstance(block := (yield Read()), bytes) and block:
                outage.end()
                for event_id, event in parser.feed(block):
                    last_id, num_events = event_id, num_events + 1
                    yield Emit(event)
                    if event.kind in FINAL:
                        return
            if not isinstance(block, Failure):
                if not num_events and (yield from read_status(Outage(service), forecast_id))["status"] in FINAL:
                    return
                block = Failure("the stream of events ended", was_sent=True)
            answer = block
        _check_time(outage, forecast_id, timeout_seconds)
        yield from outage.pause(answer)


def _check_time(outage: Outage, forecast_id: str, timeout_seconds: float | None) -> None:
    if outage.deadline is not None and time.monotonic() >= outage.deadline:
        raise WaitTimeoutError(f"Forecast {forecast_id} has not ended after {timeout_seconds:g} s.")
