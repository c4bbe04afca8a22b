"""Connections with limits of time and number, so that slow or idle ones take nothing from the others."""

import asyncio
import resource
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEADER_SECONDS = 10.0
"""Seconds from the first byte of a request, or from the start of a connection, to the end of the request's headers."""
SEND_SECONDS = 120.0
"""Seconds for which a client may receive nothing of a response."""
_MAX_CONNECTIONS = 4_000
_OTHER_FILES = 256
"""File descriptors of the process that are no connections."""


class Connections:
    """The open connections of a server: at most `maximum`.

    A connection is idle while it has no complete request: before its first, between two, or while it sends the headers
    of one. When a connection is one too many, the one that has been idle longest is closed in its favour; if none is
    idle, the new one is closed.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._number = 0
        self._idle: dict[LimitedConnection, None] = {}

    def open(self, **arguments: Any) -> asyncio.Protocol:
        """Return the protocol of a new connection, with the arguments that uvicorn gives it."""
        return LimitedConnection(self, **arguments)

    def add(self, connection: "LimitedConnection") -> None:
        """Add a connection, which is idle, and close one if there are too many."""
        self._number += 1
        self._idle[connection] = None
        if self._number > self._maximum:
            longest_idle = next(iter(self._idle))
            del self._idle[longest_idle]
            longest_idle.transport.abort()

    def remove(self, connection: "LimitedConnection") -> None:
        """Remove a connection that has ended."""
        self._number -= 1
        self._idle.pop(connection, None)

    def mark_busy(self, connection: "LimitedConnection") -> None:
        """Record that a connection has a complete request."""
        self._idle.pop(connection, None)

    def mark_idle(self, connection: "LimitedConnection") -> None:
        """Record that a connection waits for a request."""
        self._idle[connection] = None


class LimitedConnection(H11Protocol):
    """A connection that is closed if a request's headers, or the reading of a response, take too long.

    Between requests it is closed after uvicorn's `timeout_keep_alive`.
    """

    def __init__(self, connections: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._connections = connections
        self._header_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in the base class
        """Start the limit of the first request."""
        super().connection_made(transport)
        self._connections.add(self)
        self._header_timer = self.loop.call_later(HEADER_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """End all limits."""
        super().connection_lost(exc)
        self._connections.remove(self)
        self._stop_header_timer()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Handle a part of a request; its headers must be complete in time."""
        super().data_received(data)
        if self._has_request():
            self._stop_header_timer()
            self._connections.mark_busy(self)
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it has arrived already."""
        self._connections.mark_idle(self)
        super().on_response_complete()
        if self._has_request():
            self._connections.mark_busy(self)

    def pause_writing(self) -> None:
        """Start to watch a client that is slow to receive a response: without progress it is cut off after a time."""
        super().pause_writing()
        self._expect_reading(self.transport.get_write_buffer_size() + 1)

    def resume_writing(self) -> None:
        """End the limit of a client that receives a response again."""
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _expect_reading(self, unsent_before: int) -> None:
        """Close the connection if no byte was sent since the last call, else call this again after the limit."""
        unsent = self.transport.get_write_buffer_size()
        if unsent >= unsent_before:
            self.transport.abort()
        else:
            self._send_timer = self.loop.call_later(SEND_SECONDS, self._expect_reading, unsent)

    def _has_request(self) -> bool:
        """Return whether the headers of a request are complete and its response is not."""
        cycle = cast(RequestResponseCycle | None, self.cycle)
        return cycle is not None and not cycle.response_complete

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


def allow_connections() -> int:
    """Raise the limit of open files of this process as far as it may, and return how many connections fit into it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MAX_CONNECTIONS + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(files - _OTHER_FILES, files // 2)
