"""`warmcast bench load`: latencies and memory of the service, and the speed of a forecast, while it is under load."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.load_clients import Crowd, Figures, Target, crowd_of
from benchmarks.measurement import publish_results, resident_bytes
from benchmarks.reading import make_messages
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Status
from jobs.settings import Settings

_FULL = Crowd(pollers=200, probes=10, drawers=60, uploaders=44, idle=1000)
_TINY = Crowd(pollers=4, probes=2, drawers=3, uploaders=2, idle=10)
_SAMPLE_SECONDS = 0.25
_START_SECONDS = 120
_SOFT_LIMIT_OF_FILES = 1024
"""Files that a process may open on most machines, unless it raises the limit itself."""
_PROGRAM = (
    "import os, resource, sys; os.sched_setaffinity(0, {int(sys.argv.pop(1))}); "
    "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; "
    f"resource.setrlimit(resource.RLIMIT_NOFILE, (min({_SOFT_LIMIT_OF_FILES}, hard), hard)); "
    "from warmcast.cli import main; main()"
)


def bench_load(*, json: Path | None, tiny: bool) -> dict[str, Any]:
    """Load the service as many clients at once do; print what the clients measure and what a forecast loses by it.

    The worker computes with one thread on the first core; the API, its processes and all clients share the last core.
    Ratios: 99th percentiles of seconds by the clients' own clocks; the duration of a forecast under load over that of
    the same forecast at rest, the shortest of three each; and the highest memory of the API's process over that at
    rest. `tiny` makes everything small for tests; its results mean nothing.
    """
    crowd, rounds, members, lead_time = (_TINY, 1, 2, "1d") if tiny else (_FULL, 3, 16, "10d")
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder, _serve(Path(folder), cores) as service:
        upload = b"".join(make_messages(19, 36, 10) if tiny else make_messages(361, 720, 32))
        request = {"initial_state": {"source": "catalogue", "dataset": "gfs"}, "lead_time": lead_time, "seed": 1}
        forecast = request | {"members": members}
        target = Target(service.port, service.wait(service.submit(forecast)).id, upload)
        figures, at_rest, under_load = Figures(), [], []
        memory_at_rest, memory = service.memory_bytes(), 0
        with _pinned(cores[-1]):
            for _ in range(rounds):
                at_rest.append(_duration(service.wait(service.submit(forecast))))
                record, peak = asyncio.run(_run_under_load(service, crowd, target, service.submit(forecast), figures))
                under_load.append(_duration(record))
                memory = max(memory, peak)
    ratios = {
        "health_p99_seconds": figures.percentile("healthz", 99),
        "status_p99_seconds": figures.percentile("status", 99),
        "forecast_ratio": min(under_load) / min(at_rest),
        "memory_ratio": memory / memory_at_rest,
    }
    title = (
        f"{crowd.pollers} clients read the status, {crowd.drawers} ask for maps, {crowd.uploaders} upload "
        f"{len(upload) / 1e6:.0f} MB, {crowd.idle} are idle. Forecast of {min(at_rest):.1f} s, API of "
        f"{memory_at_rest / 1e6:.0f} MB; under load {min(under_load):.1f} s and {memory / 1e6:.0f} MB"
    )
    return publish_results(title, figures.rows(), ratios, json)


@dataclass(frozen=True)
class _Service:
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
            time.sleep(_SAMPLE_SECONDS)
        assert record.status == Status.SUCCESSFUL, record.error
        return record

    def memory_bytes(self) -> int:
        """Return the resident bytes of the API's process without its children."""
        return resident_bytes(self.api.pid)


async def _run_under_load(
    service: _Service, crowd: Crowd, target: Target, forecast_id: str, figures: Figures
) -> tuple[ForecastRecord, int]:
    """Load the service until a forecast ends; return the forecast and the highest memory of the API's process."""
    memory = 0
    async with crowd_of(crowd, target, forecast_id, figures):
        while (record := service.read(forecast_id)).status in OPEN:
            memory = max(memory, service.memory_bytes())
            await asyncio.sleep(_SAMPLE_SECONDS)
    assert record.status == Status.SUCCESSFUL, record.error
    return record, memory


def _duration(record: ForecastRecord) -> float:
    assert record.finished is not None
    assert record.started is not None
    return record.finished - record.started


@contextmanager
def _serve(folder: Path, cores: list[int]) -> Iterator[_Service]:
    """Run an API on the last core and a worker with one thread on the first, until the block ends."""
    settings = Settings.of(data=folder / "data", threads=1, group_size=8)
    environment, data = os.environ | settings.environment(), str(settings.storage.data)
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
        database = Database(settings.storage.sql_url)
        yield _Service(port, api, database)
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
        time.sleep(_SAMPLE_SECONDS)
    raise TimeoutError(f"The service has not started in {_START_SECONDS} s: {log.read_text()}")


@contextmanager
def _pinned(core: int) -> Iterator[None]:
    """Run this process on one core until the block ends."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
