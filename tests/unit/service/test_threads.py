import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from service.routes import forecasts
from service.threads import in_threads, iterate_in_threads
from storage.paths import DiskPath
from tests.helpers import wait_until
from tests.in_process import InProcess
from tests.rows import succeed
from tests.stored_files import chunk_file, list_receipt

_CHUNK = "u10/c.0.0.0.0.0"
_CLIENTS = 60  # more than there are threads


class _Storage:
    """A storage that does not respond until it is released."""

    def __init__(self) -> None:
        self.is_released, self.waiting = threading.Event(), 0

    def slow(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that waits for the storage first."""

        def wait(*arguments: Any, **options: Any) -> Any:
            self.waiting += 1
            assert self.is_released.wait(30)
            return function(*arguments, **options)

        return wait


@pytest.fixture
def storage() -> _Storage:
    return _Storage()


@pytest.fixture
def forecast(submit_forecast: Callable[..., ForecastRecord], database: Database, tmp_path: Path) -> str:
    """The path of a successful forecast with one chunk."""
    record = submit_forecast()
    (ForecastFolder(tmp_path, record.id).store / _CHUNK).write(chunk_file(bytes(range(100))))
    return f"/v1/forecast/{succeed(database, record, list_receipt(tmp_path, record)).id}"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/ensemble.zarr/{_CHUNK}", 200),
        ("GET", "/summary.zarr/zarr.json", 200),
        ("GET", "/ensemble.zarr/u10/c.9.9.9.9.9", 404),
        ("DELETE", "", 204),
        ("POST", "/replay", 404),  # its checkpoint is not one of the service's
    ],
)
def test_requests_that_wait_for_a_slow_storage_delay_no_other_request(
    api: InProcess,
    forecast: str,
    storage: _Storage,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    status: int,
) -> None:
    monkeypatch.setattr(DiskPath, "file_stat", storage.slow(DiskPath.file_stat))
    monkeypatch.setattr(DiskPath, "read_bytes", storage.slow(DiskPath.read_bytes))
    monkeypatch.setattr(forecasts, "delete_data", storage.slow(forecasts.delete_data))
    monkeypatch.setattr(forecasts, "replay", storage.slow(forecasts.replay))
    body = {"json": {"members": [0]}} if method == "POST" else {}
    requests = [api.start(method, forecast + path, **body) for _ in range(_CLIENTS)]
    wait_until(lambda: storage.waiting)
    assert api.start("GET", "/v1/forecast").result(10).status_code == 200
    assert api.start("GET", "/v1/models").result(10).status_code == 200
    assert not any(request.done() for request in requests)
    storage.is_released.set()
    assert {request.result(60).status_code for request in requests} == {status}


def test_a_function_in_threads_returns_its_result_or_raises_its_error() -> None:
    @in_threads(anyio.CapacityLimiter(1))
    def divide(number: int, *, by: int) -> float:
        assert threading.current_thread() is not threading.main_thread()
        return number / by

    async def run(by: int) -> float:
        return await divide(6, by=by)

    assert asyncio.run(run(3)) == 2
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run(0))


def test_blocks_are_iterated_in_the_threads_of_a_limiter() -> None:
    async def run() -> list[bytes]:
        limiter = anyio.CapacityLimiter(1)

        def blocks() -> Any:
            for number in range(3):
                assert limiter.borrowed_tokens == 1
                yield bytes([number])

        return [block async for block in iterate_in_threads(blocks(), limiter)]

    assert asyncio.run(run()) == [b"\x00", b"\x01", b"\x02"]
