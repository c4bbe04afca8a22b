"""Clients of a service under load: many in one event loop, on bare sockets, so that they cost the machine little."""

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

_PIECE_BYTES = 256 * 1024
_PAUSE_SECONDS = 1.0
"""Pause of a client whose connection was closed, and of one that was refused without `Retry-After`."""
_SLOW_SECONDS = 5.0
_ARRIVAL_SECONDS = 5.0
_BOUNDARY = "warmcast-load"


@dataclass(frozen=True)
class Crowd:
    """Number of clients of each kind.

    `pollers` read the status of the running forecast once a second, `probes` `/healthz`; `drawers` ask for maps that
    are not kept, `uploaders` send a file to be checked, and `idle` connections send nothing or a byte of a
    header from time to time.
    """

    pollers: int
    probes: int
    drawers: int
    uploaders: int
    idle: int


@dataclass(frozen=True)
class Target:
    """A port on this machine, the finished forecast to draw, and the file to upload."""

    port: int
    drawn: str
    upload: bytes


@dataclass(frozen=True)
class Response:
    """Status and headers of a response; the names of headers are in small letters."""

    status: int
    headers: dict[str, str]


class Figures:
    """What the clients measure: seconds and status of each request, by kind of request."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def add(self, kind: str, seconds: float, status: int) -> None:
        """Add a request; its status is 0 if it has received no response, which `seconds` have not sufficed for."""
        self._seconds[kind].append(seconds)
        self._statuses[kind][status] += 1

    def count(self) -> int:
        """Return the number of requests."""
        return sum(map(len, self._seconds.values()))

    def count_answered(self) -> int:
        """Return the number of requests that were answered with 200."""
        return sum(statuses[200] for statuses in self._statuses.values())

    def percentile(self, kind: str, percent: float) -> float:
        """Return a percentile of the seconds of a kind of request."""
        return float(np.percentile(self._seconds[kind], percent))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row of the table of results for each kind of request."""
        return [
            {
                "request": kind,
                "p50 ms": 1e3 * self.percentile(kind, 50),
                "p99 ms": 1e3 * self.percentile(kind, 99),
                "max ms": 1e3 * max(self._seconds[kind]),
                "200": statuses[200],
                "429": statuses[429],
                "none": statuses[0],
                "others": statuses.total() - statuses[200] - statuses[429] - statuses[0],
            }
            for kind, statuses in self._statuses.items()
        ]


@asynccontextmanager
async def crowd_of(crowd: Crowd, target: Target, polled: str, figures: Figures) -> AsyncIterator[None]:
    """Keep the clients busy while the block runs; they arrive over the first seconds.

    `polled` is the id of the forecast whose status they read.
    """
    status, numbers, slow = f"/v1/forecast/{polled}", itertools.count(), itertools.cycle((False, True))
    kinds: list[tuple[int, float, Callable[[], Coroutine[Any, Any, None]]]] = [
        (crowd.pollers, 1.0, lambda: poll(target.port, 1.0, itertools.repeat(("status", status)), figures)),
        (crowd.probes, 0.5, lambda: poll(target.port, 0.5, itertools.repeat(("healthz", "/healthz")), figures)),
        (crowd.drawers, _ARRIVAL_SECONDS, lambda: _ask_for_maps(target, numbers, figures)),
        (crowd.uploaders, _ARRIVAL_SECONDS, lambda: _upload(target, figures)),
        (crowd.idle, _ARRIVAL_SECONDS, lambda: _keep_open(target, is_slow=next(slow))),
    ]
    tasks = [
        asyncio.ensure_future(start_later(seconds * index / number, client))
        for number, seconds, client in kinds
        for index in range(number)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def start_later(seconds: float, client: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a client after some seconds."""
    await asyncio.sleep(seconds)
    await client()


async def poll(port: int, period: float, requests: Iterator[tuple[str, str]], figures: Figures) -> None:
    """Send the next of `requests`, kind and path, at each tick of the client's own clock, over a connection it keeps.

    It returns when there is none.
    Seconds count from the tick at which the request was due, also if the response before it was late.
    """
    due = time.perf_counter()
    while True:
        async with _connect(port) as (reader, writer):
            while True:
                await asyncio.sleep(due - time.perf_counter())
                request = next(requests, None)
                if request is None:
                    return
                kind, path = request
                if not await _exchange(kind, reader, writer, [_head("GET", path)], figures, due):
                    break
                due += period
        due = max(due, time.perf_counter())


async def _ask_for_maps(target: Target, numbers: "itertools.count[int]", figures: Figures) -> None:
    """Ask for maps of another region each time."""
    while True:
        path = f"/v1/forecast/{target.drawn}/plots/maps.png?bbox=-15,30,{20 + next(numbers) / 1000},60"
        await _exchange_once("maps", target, [_head("GET", path)], figures)


async def _upload(target: Target, figures: Figures) -> None:
    """Send a file as an initial state to be checked, again and again."""
    request = '{"initial_state": {"source": "upload"}, "members": 2, "lead_time": "24h"}'
    text = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="request"\r\n\r\n{request}\r\n'
    file = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="initial_state"; filename="a.grib2"\r\n\r\n'
    start, end = (text + file).encode(), f"\r\n--{_BOUNDARY}--\r\n".encode()
    size = len(start) + len(target.upload) + len(end)
    head = _head(
        "POST",
        "/v1/forecast?validate_only=true",
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}",
        f"Content-Length: {size}",
    )
    content = memoryview(target.upload)
    pieces = [content[start : start + _PIECE_BYTES] for start in range(0, len(content), _PIECE_BYTES)]
    while True:
        await _exchange_once("upload", target, [head, start, *pieces, end], figures)


async def _keep_open(target: Target, *, is_slow: bool) -> None:
    """Hold a connection that sends nothing, or a byte from time to time; open it again when it is closed."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
            try:
                closed = asyncio.ensure_future(reader.read())
                while not closed.done():
                    if is_slow:
                        writer.write(b"G")
                    await asyncio.wait([closed], timeout=_SLOW_SECONDS)
            finally:
                closed.cancel()
                writer.close()
        await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def _connect(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _exchange_once(kind: str, target: Target, request: Sequence[bytes | memoryview], figures: Figures) -> None:
    """Send a request over a connection of its own; wait as `Retry-After` says if it is refused."""
    began = time.perf_counter()
    async with _connect(target.port) as (reader, writer):
        response = await _exchange(kind, reader, writer, request, figures, began)
    if response is None or response.status != 200:
        await asyncio.sleep(float(response.headers.get("retry-after", _PAUSE_SECONDS)) if response else _PAUSE_SECONDS)


async def _exchange(
    kind: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: Iterable[bytes | memoryview],
    figures: Figures,
    began: float,
) -> Response | None:
    """Send a request and return its response, or None if the connection was closed without one; add it to `figures`."""
    status = 0
    reading = asyncio.ensure_future(_read_response(reader))
    try:
        with suppress(ConnectionError):
            for piece in request:
                if reading.done():
                    break
                writer.write(piece)
                await writer.drain()
        response = await reading
        status = response.status
    except (OSError, asyncio.IncompleteReadError):
        return None
    finally:
        reading.cancel()
        figures.add(kind, time.perf_counter() - began, status)
    return response


async def _read_response(reader: asyncio.StreamReader) -> Response:
    start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    await reader.readexactly(int(headers.get("content-length", 0)))
    return Response(int(start.split(" ", 2)[1]), headers)


def _head(method: str, path: str, *headers: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers)
    return "\r\n".join((*lines, "", "")).encode()
