"""`warmcast bench polling`: status requests a second, compared with a bare route that reads one row by its key."""

import multiprocessing
import os
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import pg8000.native
import uvicorn
from sqlalchemy import make_url
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.measurement import publish_results, shortest_seconds_of_each
from benchmarks.polling_clients import poll, request_once
from benchmarks.workbench import Workbench
from jobs.dispatching.leases import claim, commit
from jobs.keys import create_key
from jobs.planning.plans import Plan
from jobs.settings import Settings
from jobs.submit import submit
from service.commands import serve_api
from weather.bundled import find_named_checkpoint

_HOST = "127.0.0.1"
_START_SECONDS = 60
_LEASE_SECONDS = 1e6
_ROW = "SELECT id, owner, status, lead_times, num_lead_times, created FROM forecast WHERE id = "


def bench_polling(*, json: Path | None, tiny: bool, database_url: str | None) -> dict[str, Any]:
    """Time status requests of a running forecast by 20 clients that hold their connections and cost next to nothing.

    Ratios: requests a second of the service over those of a bare Starlette route that reads the row of the forecast by
    its key, in the event loop, from the same database; and of requests with `If-None-Match` over those without. The
    service checks an API key. `database_url` names an empty PostgreSQL database; SQLite by default. `tiny` makes few
    requests for tests; its results mean nothing.
    """
    clients, polls = (4, 50) if tiny else (20, 5000)
    settings: dict[str, Any] = {} if database_url is None else {"database_url": database_url}
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        checkpoint = find_named_checkpoint("planet", ())
        with Workbench.open(Path(folder), checkpoint, **settings) as bench:
            forecast_id, secret = _start_forecast(bench)
            configured = bench.settings
        path, key = f"/v1/forecast/{forecast_id}", f"Authorization: Bearer {secret}"
        with _serve(_serve_status, configured) as service, _serve(_serve_row, configured.storage.sql_url) as bare:
            tag = request_once(service, path, key)["etag"]
            works: dict[str, Callable[[], object]] = {
                "a bare route": partial(poll, bare, path, (), clients, polls),
                "the service": partial(poll, service, path, (key,), clients, polls),
                "the service, unchanged": partial(poll, service, path, (key, f"If-None-Match: {tag}"), clients, polls),
            }
            seconds = shortest_seconds_of_each(works, repeats=1 if tiny else 4)
    rates = {name: polls / value for name, value in seconds.items()}
    ratios = {
        "status_ratio": rates["the service"] / rates["a bare route"],
        "unchanged_ratio": rates["the service, unchanged"] / rates["the service"],
    }
    rows = [{"status requests to": name, "requests a second": rate} for name, rate in rates.items()]
    return publish_results(f"One forecast, {clients} clients", rows, ratios, json)


def _start_forecast(bench: Workbench) -> tuple[str, str]:
    """Submit a forecast and record its first lead time, as a worker does; return its id and the secret of its key."""
    with bench.database.write() as connection:
        key, secret = create_key(connection, "bench")
    request = bench.request(members=8, num_lead_times=40, nfe=2)
    plan, data = Plan.of(request, bench.manifest), bench.settings.storage.data
    record, _ = submit(bench.database, data, key.id, plan, bench.state, bench.manifest)
    for lease in claim(bench.database, "bench", _LEASE_SECONDS, 1):
        with bench.database.write() as connection:
            commit(connection, lease, 1, _LEASE_SECONDS)
    return record.id, secret


@contextmanager
def _serve(function: Callable[..., None], *arguments: Any) -> Iterator[int]:
    """Run a server in a process of its own, and yield its port; `function` takes the port and the arguments."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = int(probe.getsockname()[1])
    process = multiprocessing.get_context("spawn").Process(target=function, args=(port, *arguments))
    process.start()
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _accepts_connections(port):
            assert process.is_alive(), "the server has ended"
            assert time.monotonic() < deadline, f"the server does not answer after {_START_SECONDS} s"
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.join()


def _accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0


def _serve_status(port: int, settings: Settings) -> None:
    """Serve the API as `warmcast api` does; its log is discarded."""
    os.environ |= settings.environment()
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        serve_api(host=_HOST, port=port, metrics_port=None, data=None, report=lambda _line: None)


def _serve_row(port: int, database_url: str) -> None:
    """Serve the row of a forecast with the fewest means: one connection, one query, no model and no key."""
    read_row = _row_reader(database_url)

    async def answer(request: Request) -> Response:
        forecast_id, owner, status, lead_times, num_lead_times, created = read_row(request.path_params["forecast_id"])
        progress = {"lead_times": lead_times, "num_lead_times": num_lead_times}
        return JSONResponse(
            {"id": forecast_id, "owner": owner, "status": status, "progress": progress, "created": created}
        )

    app = Starlette(routes=[Route("/v1/forecast/{forecast_id}", answer)])
    uvicorn.run(app, host=_HOST, port=port, log_level="warning")


def _row_reader(database_url: str) -> Callable[[str], Any]:
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(str(url.database))
        return lambda forecast_id: connection.execute(f"{_ROW}?", (forecast_id,)).fetchone()
    server = pg8000.native.Connection(
        url.username or "", url.host or _HOST, url.database, url.port or 5432, url.password
    )
    statement = server.prepare(f"{_ROW}:key")
    return lambda forecast_id: statement.run(key=forecast_id)[0]
