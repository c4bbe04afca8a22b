"""An API and a worker, each in a process and on a core of its own, for benchmarks of the service under load."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measurement import resident_bytes
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Status
from jobs.settings import Settings

SAMPLE_SECONDS = 0.25
"""Interval of measurements of the service, and of readings of a forecast's row."""
REQUEST = {"initial_state": {"source": "catalogue", "dataset": "gfs"}, "seed": 1}
"""A forecast without its size."""
_START_SECONDS = 120
_SOFT_LIMIT_OF_FILES = 1024
"""Files that a process may open on most machines, unless it raises the limit itself."""
_PROGRAM = (
    "import os, resource, sys; os.sched_setaffinity(0, {int(sys.argv.pop(1))}); "
    "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; "
    f"resource.setrlimit(resource.RLIMIT_NOFILE, (min({_SOFT_LIMIT_OF_FILES}, hard), hard)); "
    "from warmcast.cli import main; main()"
)


@dataclass(frozen=True)
class RunningService:
    """An API and a worker in processes of their own, and the database of both."""

    port: int
    api: "subprocess.Popen[bytes]"
    database: Database

    def submit(self, request: dict[str, Any]) -> str:
        """Submit a forecast and return its id."""
        response = httpx.post(f"http://127.0.0.1:{self.port}/v1/forecast", json=request, timeout=600)
        response.raise_for_status()
        return str(response.json()["id"])

    def read(self, forecast_id: str) -> ForecastRecord:
        """Return a forecast, read from the database, which answers also when the API does not."""
        with self.database.read() as connection:
            return read_forecast(connection, forecast_id)

    def wait(self, forecast_id: str) -> ForecastRecord:
        """Wait until a forecast has ended successfully, and return it."""
        while (record := self.read(forecast_id)).status in OPEN:
            time.sleep(SAMPLE_SECONDS)
        assert record.status == Status.SUCCESSFUL, record.error
        return record

    def memory_bytes(self) -> int:
        """Return the resident bytes of the API's process without its children."""
        return resident_bytes(self.api.pid)


def duration(record: ForecastRecord) -> float:
    """Return the seconds from the start of a forecast to its end."""
    assert record.finished is not None
    assert record.started is not None
    return record.finished - record.started


@contextmanager
def serve_on_cores(folder: Path, cores: list[int], **settings: Any) -> Iterator[RunningService]:
    """Run an API on the last core and a worker with one thread on the first, until the block ends."""
    configuration = Settings.of(data=folder / "data", threads=1, group_size=8, **settings)
    environment, data = os.environ | configuration.environment(), str(configuration.storage.data)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with (folder / "log").open("wb") as log:
        api, worker = (
            subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(core), *command, "--data", data],
                env=environment,
                stdout=log,
                stderr=log,
            )
            for core, command in ((cores[-1], ("api", "--port", str(port))), (cores[0], ("worker",)))
        )
    try:
        _wait_until_ready(port, folder / "log")
        database = Database(configuration.storage.sql_url)
        yield RunningService(port, api, database)
        database.close()
    finally:
        for process in (api, worker):
            process.send_signal(signal.SIGTERM)
        for process in (api, worker):
            process.wait(60)


def _wait_until_ready(port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(SAMPLE_SECONDS)
    raise TimeoutError(f"The service has not started in {_START_SECONDS} s: {log.read_text()}")


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run this process on one core until the block ends."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
