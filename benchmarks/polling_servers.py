"""The servers of `warmcast bench polling`, each in a process of its own, without PyTorch."""

import multiprocessing
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import pg8000.native
import uvicorn
from sqlalchemy import make_url
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jobs.settings import Settings
from service.commands import serve_api

_HOST = "127.0.0.1"
_START_SECONDS = 60
_ROW = "SELECT id, owner, status, lead_times, num_lead_times, created FROM forecast WHERE id = "


@contextmanager
def serve(function: Callable[..., None], *arguments: Any) -> Iterator[int]:
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


def serve_status(port: int, settings: Settings) -> None:
    """Serve the API as `warmcast api` does; its log is discarded."""
    os.environ |= settings.environment()
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        serve_api(host=_HOST, port=port, metrics_port=None, data=None, report=lambda _line: None)


def serve_row(port: int, database_url: str) -> None:
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
