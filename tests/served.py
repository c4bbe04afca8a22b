"""The service in a separate process, for tests."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from models.testing import tiny_spec
from tests.helpers import wait_until
from tests.servers import free_port
from weather.testing import travelling_waves

WARMCAST = (sys.executable, "-c", "from warmcast.cli import main; main()")


class Served:
    """`warmcast serve` in a separate process, which can be killed and started again on the same data."""

    def __init__(self, data: Path, checkpoints: Path, *arguments: str, command: str = "serve", **settings: str) -> None:
        self.data, self._command = data, (command, *arguments)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.temporary = data.parent / f"{data.name}-tmp"
        self.temporary.mkdir()
        self._environment = os.environ | {
            "TMPDIR": str(self.temporary),
            "WARMCAST_CHECKPOINTS": str(checkpoints),
            "WARMCAST_THREADS": "1",
            "WARMCAST_POLL_SECONDS": "0.1",
            "WARMCAST_RECONCILE_SECONDS": "0.5",
            "WARMCAST_LEASE_SECONDS": "3",
            "WARMCAST_HEARTBEAT_SECONDS": "0.5",
            **{f"WARMCAST_{name.upper()}": value for name, value in settings.items()},
        }
        self.client = httpx.Client(base_url=self.url, timeout=120)
        self.start()

    def start(self) -> None:
        run = [*WARMCAST, *self._command]
        port = self.url.rsplit(":", 1)[1]
        log = (self.data.parent / "serve.log").open("a")
        self.process = subprocess.Popen(
            [*run, "--port", port, "--data", str(self.data)], env=self._environment, stderr=log, stdout=log
        )
        log.close()
        wait_until(self._answers, ignoring=(httpx.TransportError,), describe=self._read_log)

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"the service has ended: {self._read_log()}")
        return self.client.get("/healthz").status_code == 200

    def _read_log(self) -> str:
        return (self.data.parent / "serve.log").read_text()

    def temporary_files(self) -> list[Path]:
        """Return the files and folders that uploads have left."""
        uploads = [path for path in (self.data / "uploads").rglob("*") if path.name != ".lock"]
        return [*self.temporary.iterdir(), *(path for path in uploads if path.parent.name != "uploads")]

    def wait_for_worker(self) -> None:
        """Wait until a worker has recorded a heartbeat; before that `/readyz` answers 503."""
        wait_until(lambda: self.client.get("/readyz").status_code == 200, describe=self._read_log)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def kill_after(self, seconds: float) -> threading.Thread:
        """Kill the service some seconds from now, and start it again."""

        def kill_and_start() -> None:
            time.sleep(seconds)
            self.kill()
            self.start()

        thread = threading.Thread(target=kill_and_start)
        thread.start()
        return thread

    def submit(self, **fields: Any) -> dict[str, Any]:
        """Submit a small forecast of the tiny checkpoint; `fields` replace those of the request."""
        response = self.client.post("/forecast", json=small_request(**fields))
        assert response.status_code == 202, response.text
        view: dict[str, Any] = response.json()
        return view

    def status(self, forecast_id: str) -> dict[str, Any]:
        view: dict[str, Any] = self.client.get(f"/forecast/{forecast_id}").json()
        return view

    def wait(self, forecast_id: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until a forecast has ended, and return its view."""

        def has_ended() -> bool:
            return self.status(forecast_id)["status"] not in ("accepted", "running")

        wait_until(has_ended, seconds, describe=lambda: self.status(forecast_id))
        return self.status(forecast_id)


def small_request(**fields: Any) -> dict[str, Any]:
    """Return the request of a small forecast of the tiny checkpoint; `fields` replace its own."""
    request = {
        "model": "untrained",
        "initial_state": {"source": "catalogue", "dataset": "nature-run"},
        "members": 3,
        "lead_time": "24h",
        "seed": 1,
        "sampler": {"nfe": 2},
    }
    return request | fields


def write_truth(folder: Path, forecast: Any, *, hours: tuple[int, ...] = (0, 6, 12, 24)) -> Path:
    """Write travelling waves at lead times of a forecast as its truth, and return the file."""
    start = np.datetime64(forecast["init_time"], "s")
    times = [start + np.timedelta64(lead, "h") for lead in hours]
    travelling_waves(tiny_spec().grid.grid, times).to_netcdf(folder / "truth.nc")
    return folder / "truth.nc"
