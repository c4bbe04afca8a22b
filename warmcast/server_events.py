"""Server-sent events (WHATWG HTML, section 9.2), parsed from the bytes of a connection."""

import json
from typing import Any, NamedTuple


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
        """Add a field; lines of data are joined, and a comment, whose name is empty, is ignored."""
        if name == "data" and "data" in self._fields:
            self._fields["data"] += f"\n{value}"
        elif name:
            self._fields[name] = value
