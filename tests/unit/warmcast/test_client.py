"""`Client` and `AsyncClient` against a server that breaks connections."""

import asyncio
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

import warmcast
from warmcast import (
    AsyncClient,
    AsyncRemoteForecast,
    Client,
    RemoteForecast,
    ServiceProblemError,
    ServiceUnreachableError,
)

ZIP = bytes(range(256)) * 4096
INFO = {
    "id": "fc_1",
    "status": "running",
    "progress_detail": {"lead_times": 1, "num_lead_times": 4, "eta_seconds": 0.1},
    "init_time": "2018-09-15T00:00:00",
    "request": {"members": 1},
    "error": None,
}
EVENTS = [b"event: accepted\ndata: {}\nid: 1\n\n", b'event: lead_time\ndata: {"lead_times": 1}\nid: 2\n\n']
LAST = b"event: successful\ndata: {}\nid: 3\n\n"


class _Handler(BaseHTTPRequestHandler):
    """Breaks the first two answers of each path in their middle, and records all requests."""

    server: "BreakingServer"

    def do_GET(self) -> None:
        self._record()
        tail = self.path.rpartition("/")[2]
        if tail == "ensemble.zarr.zip":
            self._send_zip()
        elif tail == "events":
            self._send_events()
        elif tail == "gone":
            self._send(410, {"type": "/problems/data-gone", "detail": "The data is gone."})
        else:
            status = "successful" if self._count() > 2 else "running"
            self._send(200, INFO | {"status": status})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._record()
        if self._count() > 2:
            self._send(202, INFO)

    def log_message(self, *_: Any) -> None: ...

    def _record(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))

    def _count(self) -> int:
        return sum(path == self.path for path, _ in self.server.requests)

    def _send(self, status: int, document: object) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_zip(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"v1"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(ZIP) - 1}/{len(ZIP)}")
        self.send_header("Content-Length", str(len(ZIP) - start))
        self.end_headers()
        self.wfile.write(ZIP[start:] if self._count() > 2 else ZIP[start : start + 300_000])

    def _send_events(self) -> None:
        self.send_response(200)
        self.end_headers()
        last = int(self.headers["Last-Event-ID"])
        self.wfile.write(LAST if last == len(EVENTS) else EVENTS[last] + LAST[:20])


class BreakingServer(ThreadingHTTPServer):
    """The server; `requests` are paths and headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[BreakingServer]:
    server = BreakingServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Sync:
    """Runs what a test does with `Client`."""

    def run(self, url: str, action: Callable[[Any], list[Any]]) -> Any:
        with Client(url, timeout_seconds=10) as client:
            result = action(client)[-1]
            return [*result] if inspect.isgenerator(result) else result


class Async:
    """Runs the same with `AsyncClient`: each item of the action's list is awaited or iterated."""

    def run(self, url: str, action: Callable[[Any], list[Any]]) -> Any:
        async def main() -> Any:
            async with AsyncClient(url, timeout_seconds=10) as client:
                result = action(client)[-1]
                return [item async for item in result] if inspect.isasyncgen(result) else await result

        return asyncio.run(main())


@pytest.fixture(params=[Sync, Async])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param()


def _forecast(client: Any) -> Any:
    return (RemoteForecast if isinstance(client, Client) else AsyncRemoteForecast)(client, INFO)


def test_a_submission_survives_broken_connections(kind: Any, server: BreakingServer) -> None:
    forecast = kind.run(server.url, lambda client: [client.submit("gfs", members=1)])
    assert forecast.id == "fc_1"
    keys = {headers["Idempotency-Key"] for _, headers in server.requests}
    assert (len(server.requests), len(keys)) == (3, 1)


def test_a_download_survives_broken_connections(kind: Any, server: BreakingServer, tmp_path: Path) -> None:
    path = kind.run(server.url, lambda client: [_forecast(client).download(tmp_path / "e.zip")])
    assert path.read_bytes() == ZIP
    assert [path.name for path in tmp_path.iterdir()] == ["e.zip"]
    ranges = [headers.get("Range") for _, headers in server.requests]
    assert ranges == [None, "bytes=300000-", "bytes=600000-"]


def test_events_survive_broken_connections(kind: Any, server: BreakingServer) -> None:
    events = kind.run(server.url, lambda client: [_forecast(client).events()])
    assert [kind for kind, _ in events] == ["accepted", "lead_time", "successful"]
    assert [headers["Last-Event-ID"] for _, headers in server.requests] == ["0", "1", "2"]


def test_waiting_returns_the_forecast(kind: Any, server: BreakingServer) -> None:
    forecast = kind.run(server.url, lambda client: [_forecast(client).wait(10)])
    assert forecast.status == "successful"


def test_a_problem_is_typed(kind: Any, server: BreakingServer) -> None:
    with pytest.raises(ServiceProblemError, match="The data is gone") as caught:
        kind.run(server.url, lambda client: [client.forecast("gone")])
    assert (caught.value.kind, caught.value.status) == ("/problems/data-gone", 410)


def test_an_address_without_a_service_raises_an_error_of_the_client(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmcast.exchange._FIRST_CONTACT_SECONDS", 0.1)
    with pytest.raises(ServiceUnreachableError, match=r"No service answers at http://127\.0\.0\.1:9: ") as caught:
        kind.run("http://127.0.0.1:9", lambda client: [client.models()])
    assert "httpx" not in type(caught.value).__module__


def test_a_download_that_is_cancelled_leaves_nothing(server: BreakingServer, tmp_path: Path) -> None:
    async def main() -> None:
        received = asyncio.Event()
        async with AsyncClient(server.url) as client:
            download = _forecast(client).download(tmp_path / "e.zip", progress=lambda *_: received.set())
            task = asyncio.create_task(download)
            await received.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert not [*tmp_path.iterdir()]


def test_events_that_are_left_early_close_their_connection(server: BreakingServer) -> None:
    with Client(server.url) as client:
        events = _forecast(client).events()
        assert next(events).kind == "accepted"
        cast(Any, events).close()
        assert client.forecast("fc_1").id == "fc_1"


def test_both_clients_offer_the_same_with_the_same_arguments() -> None:
    def list_methods(kind: type) -> dict[str, str]:
        members = {name: member for name, member in vars(kind).items() if inspect.isfunction(member) and name[0] != "_"}
        return {name: str(inspect.signature(member).replace(return_annotation="")) for name, member in members.items()}

    assert list_methods(Client).keys() == list_methods(AsyncClient).keys()
    assert list_methods(RemoteForecast) == list_methods(AsyncRemoteForecast)
    assert list_methods(Client)["submit"] == list_methods(AsyncClient)["submit"]
    for kind in (Client, AsyncClient, RemoteForecast, AsyncRemoteForecast):
        assert all(inspect.getdoc(getattr(kind, name)) for name in list_methods(kind))
    parameters = inspect.signature(Client.submit).parameters
    assert [*parameters][:2] == ["self", "initial_state"]
    assert {"nfe", "solver", "warmth", "members", "lead_time", "output", "summary"} <= parameters.keys()
    assert "forecast_id" not in inspect.signature(RemoteForecast.receipt).parameters


def test_the_repr_of_a_client_and_of_a_forecast_describes_it() -> None:
    with Client("http://service:8000/") as client:
        assert repr(client) == "<Client of http://service:8000>"
        forecast = RemoteForecast(client, INFO)
        assert repr(forecast) == (
            "<RemoteForecast fc_1: running, 1 of 4 lead times, 1 member from 2018-09-15T00:00:00>"
        )
        assert forecast.ensemble_url == "http://service:8000/v1/forecast/fc_1/ensemble.zarr"


def test_the_package_exports_the_clients_their_errors_and_the_version() -> None:
    assert warmcast.__version__[0].isdigit()
    assert set(warmcast.__all__) <= set(dir(warmcast))
    for name in warmcast.__all__:
        assert getattr(warmcast, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        _ = warmcast.Cleint
