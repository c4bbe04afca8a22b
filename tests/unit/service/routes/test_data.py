import errno
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.request import Output
from jobs.retention import delete_data
from jobs.rows.database import Database
from service import archives
from tests.helpers import wait_until
from tests.in_process import InProcess
from tests.rows import cancel_forecast, succeed
from tests.stored_files import chunk_file, list_receipt
from weather.stores.ensemble import EnsembleStore

Submit = Callable[..., ForecastRecord]

_ZipFile = zipfile.ZipFile
_CHUNK = "u10/c.0.0.0.0.0"
_CONTENT = chunk_file(bytes(range(100)))
_ZIP_FILES = {"ensemble.zarr.zip", "ensemble.zarr.zip.crc32c", ".ensemble.zarr.zip.lock"}


@pytest.fixture
def forecast(submit_forecast: Submit, database: Database, tmp_path: Path) -> ForecastRecord:
    """A successful forecast with one chunk."""
    record = submit_forecast()
    (ForecastFolder(tmp_path, record.id).store / _CHUNK).write(_CONTENT)
    return succeed(database, record, list_receipt(tmp_path, record))


@pytest.fixture
def folder(forecast: ForecastRecord, tmp_path: Path) -> Path:
    """The folder of the fixture `forecast`."""
    return tmp_path / "forecasts" / forecast.id


class SlowZip:
    """A zip that is written after `is_released` is set; counts how many were started."""

    def __init__(self) -> None:
        self.begun, self.is_released = 0, threading.Event()

    def __call__(self, *arguments: Any) -> zipfile.ZipFile:
        self.begun += 1
        assert self.is_released.wait(30)
        return _ZipFile(*arguments)


@pytest.fixture
def slow_zip(monkeypatch: pytest.MonkeyPatch) -> SlowZip:
    slow = SlowZip()
    monkeypatch.setattr(archives.zipfile, "ZipFile", slow)
    return slow


def _address(forecast: ForecastRecord) -> str:
    return f"/forecast/{forecast.id}/ensemble.zarr.zip"


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(("ensemble.zarr.zip", ".ensemble.zarr.zip"))}


def test_concurrent_first_downloads_receive_the_same_zip(
    api: InProcess, forecast: ForecastRecord, folder: Path, slow_zip: SlowZip
) -> None:
    downloads = [api.start("GET", _address(forecast)) for _ in range(12)]
    wait_until(lambda: slow_zip.begun)
    assert api.get("/healthz").status_code == 200
    slow_zip.is_released.set()
    responses = [download.result(30) for download in downloads]
    assert [response.status_code for response in responses] == [200] * 12
    assert (slow_zip.begun, len({response.content for response in responses})) == (1, 1)
    with zipfile.ZipFile(io.BytesIO(responses[0].content)) as archive:
        assert archive.testzip() is None
        assert archive.read(_CHUNK) == _CONTENT
        assert {"zarr.json", "u10/zarr.json", "complete/zarr.json"} <= set(archive.namelist())
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o644}
    assert _files(folder) == _ZIP_FILES


def test_a_client_that_leaves_does_not_stop_the_zip_of_the_others(
    api: InProcess, forecast: ForecastRecord, slow_zip: SlowZip
) -> None:
    leaving = api.start("GET", _address(forecast))
    wait_until(lambda: slow_zip.begun)
    staying = api.start("GET", _address(forecast))
    leaving.cancel()
    slow_zip.is_released.set()
    assert staying.result(30).status_code == 200
    assert slow_zip.begun == 1


def test_several_processes_build_one_zip(folder: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from service.archives import build_zip\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        f"files = {{'ensemble.zarr/{_CHUNK}': None}}\n"
        f"print(build_zip(pathlib.Path({str(folder)!r}), lambda: files, lambda: None).stat().st_ino)\n"
    )
    command = [sys.executable, "-c", program]
    builders = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(3)
    ]
    for builder in builders:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "ready\n"
    inodes = [builder.communicate("go\n", timeout=30)[0] for builder in builders]
    assert inodes == [f"{(folder / 'ensemble.zarr.zip').stat().st_ino}\n"] * 3


def _deleted(
    api: InProcess, forecast: ForecastRecord, slow_zip: SlowZip, delete: Callable[[], object]
) -> httpx.Response:
    download = api.start("GET", _address(forecast))
    wait_until(lambda: slow_zip.begun)
    delete()
    slow_zip.is_released.set()
    return download.result(30)


def test_a_forecast_deleted_while_its_zip_is_built_is_a_410(
    api: InProcess, forecast: ForecastRecord, folder: Path, database: Database, slow_zip: SlowZip, tmp_path: Path
) -> None:
    response = _deleted(api, forecast, slow_zip, lambda: delete_data(database, tmp_path, forecast.id, forecast.owner))
    assert (response.status_code, response.json()["type"]) == (410, "/problems/data-gone")
    assert not folder.exists() or _files(folder) <= {".ensemble.zarr.zip.lock"}


def test_a_zip_for_which_the_disk_is_too_small_is_refused_and_leaves_nothing(
    api: InProcess, forecast: ForecastRecord, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("storage.paths.DiskPath.free_bytes", lambda _: 10.0)
    early = api.get(_address(forecast))
    monkeypatch.undo()
    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    late = api.get(_address(forecast))
    monkeypatch.undo()
    for response in (early, late):
        assert (response.status_code, response.json()["type"]) == (507, "/problems/insufficient-storage")
        assert response.json()["retryable"]
    assert _files(folder) == {".ensemble.zarr.zip.lock"}
    assert api.get(_address(forecast)).status_code == 200


def test_the_temporary_file_of_a_killed_builder_is_removed(
    api: InProcess, forecast: ForecastRecord, folder: Path
) -> None:
    (folder / ".ensemble.zarr.zip.0123.partial").write_bytes(b"half")
    (folder / "ensemble.zarr/u10/.c.0.0.0.0.0.0123.partial").write_bytes(b"half")
    response = api.get(_address(forecast))
    assert _files(folder) == _ZIP_FILES
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".partial")]


def test_every_file_of_a_store_is_served_as_it_is(
    api: InProcess, submit_forecast: Submit, database: Database, tmp_path: Path
) -> None:
    record = submit_forecast()
    folder = ForecastFolder(tmp_path, record.id)
    store = EnsembleStore.open(folder.store)
    fields = np.random.default_rng(4).normal(0, 5, (2, 2, *store.layout.grid.shape)).astype(np.float32)
    store.commit(0, 0, fields)
    succeed(database, record, list_receipt(tmp_path, record))
    for name, path in (("ensemble.zarr", folder.store), ("summary.zarr", folder.summary)):
        files = [key for key, _ in path.files()]
        assert len(files) > 10
        for key in files:
            response = api.get(f"/v1/forecast/{record.id}/{name}/{key}")
            assert (response.status_code, response.content) == (200, (path / key).read_bytes()), key
            is_metadata = key.endswith("zarr.json")
            assert response.headers["content-type"] == (
                "application/json" if is_metadata else "application/octet-stream"
            )


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "u10",
        "u10/",
        "u10/c",
        "u10/c.0.0.0.0.9",
        "u10/c.0.0.0.0.0.0.0",
        "u10/c.-1.0.0.0.0",
        "u10/c.0.0.0.0.0/",
        "u10//c.0.0.0.0.0",
        "U10/c.0.0.0.0.0",
        "u10/.c.0.0.0.0.0.0123.partial",
        "%2Fetc%2Fpasswd",
        "..%2Freceipt.json",
        "%2E%2E/receipt.json",
        "u10/%2E%2E/zarr.json",
        "u10/%2E%2E/%2E%2E/receipt.json",
        "..%5Creceipt.json",
        f"{'0' * 5000}",
        "u10/c.٣.0.0.0.0",
    ],
)
def test_nothing_but_files_of_the_store_is_served(
    api: InProcess, forecast: ForecastRecord, folder: Path, key: str
) -> None:
    (folder / "receipt.json").write_text("{}")
    (folder / "ensemble.zarr/u10/.c.0.0.0.0.0.0123.partial").write_bytes(b"half")
    for store in ("ensemble.zarr", "summary.zarr"):
        response = api.get(f"/v1/forecast/{forecast.id}/{store}/{key}")
        assert (response.status_code, response.json()["status"]) == (404, 404)


def test_a_link_out_of_the_store_has_no_key(api: InProcess, forecast: ForecastRecord, folder: Path) -> None:
    (folder / "ensemble.zarr/secret").symlink_to("/etc")
    assert api.get(f"/v1/forecast/{forecast.id}/ensemble.zarr/secret/hostname").status_code == 404


@pytest.mark.parametrize("members", [True, False])
def test_a_forecast_without_members_serves_its_summary_only(
    api: InProcess, submit_forecast: Submit, members: bool
) -> None:
    record = submit_forecast(output=Output(members=members))
    address = f"/v1/forecast/{record.id}"
    assert api.get(f"{address}/summary.zarr/zarr.json").status_code == 200
    assert api.get(f"{address}/ensemble.zarr/zarr.json").status_code == (200 if members else 404)


def test_only_a_successful_forecast_with_members_has_a_zip(
    api: InProcess, submit_forecast: Submit, database: Database
) -> None:
    waiting = submit_forecast()
    summary_only = submit_forecast(output=Output(members=False))
    cancel_forecast(database, waiting.id, "local")
    succeed(database, summary_only)
    assert api.get(_address(waiting)).json()["status"] == 409
    assert api.get(_address(summary_only)).json()["status"] == 404
