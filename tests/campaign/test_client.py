"""Kill and restart the service while clients wait for a forecast, follow it and download one: all clients succeed.

A few restarts in an ordinary run; five in `make campaign`.
"""

import hashlib
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.archives import zip_path
from storage.sums import sum_path, write_sum
from tests.helpers import wait_until
from tests.served import WARMCAST, Served
from warmcast import Client

ARCHIVE_BYTES = 200_000_000


@pytest.fixture
def restarts(request: pytest.FixtureRequest) -> int:
    return min(int(request.config.getoption("--kills")), 5)


def _write_archive(served: Served, forecast_id: str) -> str:
    """Write random bytes and their sum as the service's cached zip of a forecast; returns their SHA-256."""
    content = np.random.default_rng(1987).bytes(ARCHIVE_BYTES)
    path = zip_path(served.data / "forecasts" / forecast_id)
    path.write_bytes(content)
    write_sum(path, sum_path(path))
    return hashlib.sha256(content).hexdigest()


def _wait_for_connection(process: subprocess.Popen[str]) -> None:
    """Wait until a process has a socket: until then it has not reached the service."""

    def has_socket() -> bool:
        files = Path(f"/proc/{process.pid}/fd").iterdir()
        return any(str(path.readlink()).startswith("socket:") for path in files)

    wait_until(has_socket, 120, ignoring=(FileNotFoundError,))  # a file that was closed in the meantime


def _wait_for_lead_times(served: Served, forecast_id: str, number: int) -> None:
    wait_until(
        lambda: served.status(forecast_id)["progress_detail"]["lead_times"] >= number,
        120,
        ignoring=(httpx.TransportError,),
    )


@pytest.mark.campaign
def test_watching_waiting_and_downloading_survive_restarts(
    restarts: int, serve: Callable[..., Served], tmp_path: Path
) -> None:
    started = time.monotonic()
    served = serve(max_attempts="20")
    stored = served.submit()["id"]
    served.wait(stored)
    digest = _write_archive(served, stored)
    forecast_id = served.submit(lead_time="240h", sampler={"nfe": 20}, members=8)["id"]
    kills = [threading.Event() for _ in range(restarts)]

    def slow_down(done: int, total: int | None) -> None:
        """Hold the download until the service was killed, so that each kill interrupts it after more bytes."""
        assert total is not None
        for index, kill in enumerate(kills):
            if done > total * (index + 1) // (restarts + 1):
                assert kill.wait(120)

    def download() -> Path:
        with Client(served.url) as client:
            return client.forecast(stored).download(tmp_path / "stored.zip", progress=slow_down)

    def wait() -> str:
        with Client(served.url) as client:
            return client.forecast(forecast_id).wait(timeout_seconds=300).status

    watch = subprocess.Popen(
        [*WARMCAST, "watch", forecast_id],
        env=os.environ | {"WARMCAST_URL": served.url},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with ThreadPoolExecutor(2) as threads:
        downloaded, waited = threads.submit(download), threads.submit(wait)
        _wait_for_connection(watch)
        time.sleep(0.5)
        for index, kill in enumerate(kills):
            _wait_for_lead_times(served, forecast_id, 1 + index * 30 // restarts)
            served.kill()
            kill.set()
            time.sleep(1.0)
            served.start()
        assert waited.result(300) == "successful"
        assert hashlib.sha256(downloaded.result(300).read_bytes()).hexdigest() == digest
    output, errors = watch.communicate(timeout=60)
    assert (watch.returncode, errors) == (0, "")
    assert f"{forecast_id}  successful  40/40 lead times" in output
    assert [path.name for path in tmp_path.glob("*.zip")] == ["stored.zip"]
    assert not [*tmp_path.glob(".warmcast-*")]
    seconds = time.monotonic() - started
    logging.getLogger(__name__).warning("%d restarts, survived by three clients in %.0f s", restarts, seconds)
