"""The events of a forecast or batch: server-sent events (WHATWG HTML, section 9.2), also across restarts."""

import json
import time
from typing import Any, NamedTuple

from warmcast.errors import WaitTimeoutError
from warmcast.exchange import (
    IDENTITY,
    Answer,
    Emit,
    Failure,
    Open,
    Outage,
    Read,
    Request,
    Service,
    Steps,
    forecast_path,
)
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


class EventStream:
    """The events at a path, over as many connections as it takes: each continues after the last event of the others.

    `has_received` says whether anything has arrived by the newest connection.
    """

    def __init__(self, path: str) -> None:
        self._path, self._last_id = path, "0"
        self._parser: EventParser | None = None
        self.num_events, self.has_received = 0, False

    def read(self, outage: Outage) -> Steps[list[Event] | Answer | Failure | None]:
        """Return the next events, of which there may be none yet; None at the end of the connection.

        The first call, and the one after the end of a connection, opens one. What makes it impossible, or breaks it, is
        returned; raises `ServiceProblemError` if the service refuses the request.
        """
        if self._parser is None:
            self.num_events, self.has_received = 0, False
            headers = {"Last-Event-ID": self._last_id, **IDENTITY}
            seconds = outage.limit_seconds(_KEEP_ALIVE_SECONDS)
            answer: Answer | Failure = yield Open(Request("GET", self._path, headers=headers, answer_seconds=seconds))
            if not outage.is_available(answer):
                return answer
            assert isinstance(answer, Answer)
            answer.check()
            self._parser = EventParser()
        block: bytes | Failure = yield Read()
        if isinstance(block, Failure) or not block:
            self._parser = None
            return block if isinstance(block, Failure) else None
        outage.end()
        self.has_received = True
        found = self._parser.feed(block)
        self.num_events += len(found)
        self._last_id = found[-1][0] if found else self._last_id
        return [event for _, event in found]


def follow_events(service: Service, forecast_id: str, timeout_seconds: float | None = None) -> Steps[None]:
    """Emit each event of a forecast as an `Event`, from the first to the last; none twice."""
    outage, stream = Outage(service, timeout_seconds), EventStream(forecast_path(forecast_id, "events"))
    while True:
        found = yield from stream.read(outage)
        if isinstance(found, list):
            for event in found:
                yield Emit(event)
                if event.kind in FINAL:
                    return
            _check_time(outage, forecast_id, timeout_seconds)
            continue
        if found is None:
            if not stream.num_events and (yield from read_status(Outage(service), forecast_id))["status"] in FINAL:
                return
            found = Failure("the stream of events ended", was_sent=True)
        _check_time(outage, forecast_id, timeout_seconds)
        yield from outage.pause(found)


def _check_time(outage: Outage, forecast_id: str, timeout_seconds: float | None) -> None:
    if outage.deadline is not None and time.monotonic() >= outage.deadline:
        raise WaitTimeoutError(f"Forecast {forecast_id} has not ended after {timeout_seconds:g} s.")
