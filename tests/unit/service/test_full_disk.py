"""A real disk that is full: a small file system in memory, which only root can mount."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.settings import Settings
from service.app import create_app
from tests.helpers import wait_until
from tests.in_process import InProcess, run_in_process
from tests.rows import create_key, save_batch_size, succeed
from weather.stores.ensemble import EnsembleStore

RESERVE = 1_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def settings(settings: Settings, disk: Path) -> Settings:
    return settings.replace(data=disk / "data", reserve_bytes=RESERVE)


@pytest.fixture
def api(settings: Settings) -> Iterator[InProcess]:
    with run_in_process(create_app(settings, with_worker=False)) as api:
        yield api


def _fill(disk: Path) -> Path:
    """Write a file until no byte is free any more."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(b"\0" * (1 << 16)):
            pass
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(b"\0"):
            pass
    return filler


def _disk_check(api: InProcess) -> str | None:
    detail: str | None = api.get("/readyz").json()["details"].get("disk")
    return detail


def test_a_full_disk_refuses_new_work_lets_data_be_deleted_and_recovers(
    api: InProcess, settings: Settings, disk: Path, submit_small: Callable[..., ForecastRecord]
) -> None:
    database: Database = api.app.state.service.database
    assert (disk / "data/.reserve").stat().st_size == RESERVE
    record = submit_small(database, settings.storage.data)
    assert _disk_check(api) is None
    filler = _fill(disk)
    wait_until(lambda: _disk_check(api) is not None, 10)
    assert "new work is refused" in (_disk_check(api) or "")
    request = {"initial_state": {"source": "catalogue", "dataset": "gfs"}, "model": "untrained", "lead_time": "6h"}
    refused = [
        api.post("/v1/forecast", json=request),
        api.post("/v1/forecast", files={"request": (None, "{}"), "initial_state": ("x", b"GRIB")}),
        api.post(f"/v1/forecast/{record.id}/replay", json={"members": [0]}),
        api.post(f"/v1/forecast/{record.id}/verify", files={"reference": (None, "a"), "truth": ("x", b"GRIB")}),
        api.post("/v1/inspect", files={"initial_state": ("x", b"GRIB")}),
    ]
    for response in refused:
        assert response.status_code == 507, response.text
        assert response.json()["type"] == "/problems/insufficient-storage"
        assert response.json()["retryable"]
    assert api.get(f"/v1/forecast/{record.id}").json()["status"] == "accepted"
    assert api.delete(f"/v1/forecast/{record.id}").status_code == 202
    assert api.delete(f"/v1/forecast/{record.id}").status_code == 204
    assert not ForecastFolder(settings.storage.data, record.id).path.exists()
    filler.unlink()
    wait_until(lambda: _disk_check(api) is None, 10)
    assert (disk / "data/.reserve").stat().st_size == RESERVE


def test_a_row_that_finds_no_space_is_an_error_of_a_full_disk(api: InProcess, disk: Path) -> None:
    database: Database = api.app.state.service.database
    filler = _fill(disk)

    def write(kind: str) -> None:
        for number in range(3000):
            if kind == "key":
                create_key(database, f"key {number}")
            else:
                save_batch_size(database, f"{number:064}", "cpu", 1)

    for kind in ("batch size", "key"):
        with pytest.raises(OSError, match="No space left on device") as caught:
            write(kind)
        assert caught.value.errno == errno.ENOSPC
    filler.unlink()
    save_batch_size(database, "c", "cpu", 1)


def test_a_service_starts_on_a_full_disk_so_that_data_can_be_deleted(settings: Settings, disk: Path) -> None:
    with run_in_process(create_app(settings, with_worker=False)):
        pass
    _fill(disk)
    with run_in_process(create_app(settings, with_worker=False)) as api:
        assert api.get("/v1/forecast").status_code == 200
        assert _disk_check(api) is not None


def test_a_disk_that_is_almost_full_when_the_service_starts_has_no_reserve(settings: Settings, disk: Path) -> None:
    (disk / "other").write_bytes(b"\0" * 10_900_000)
    with run_in_process(create_app(settings, with_worker=False)) as api:
        assert not (disk / "data/.reserve").exists()
        assert _disk_check(api) is not None
        (disk / "other").unlink()
        wait_until(lambda: _disk_check(api) is None, 10)


def test_a_zip_takes_no_space_that_accepted_forecasts_or_deletions_need(
    api: InProcess, settings: Settings, disk: Path, submit_small: Callable[..., ForecastRecord]
) -> None:
    database: Database = api.app.state.service.database
    record = submit_small(database, settings.storage.data)
    store = EnsembleStore.open(ForecastFolder(settings.storage.data, record.id).store)
    draw = np.random.default_rng(0)
    for group in range(store.layout.num_groups):
        for lead_index in range(store.layout.num_lead_times):
            shape = (len(store.layout.group_members(group)), len(store.layout.variables), *store.layout.grid.shape)
            store.commit(group, lead_index, draw.standard_normal(shape, np.float32))
    succeed(database, record)
    waiting = submit_small(database, settings.storage.data, members=200, group_size=50)
    size = sum(size for _, size in store.path.files())
    with (disk / "other").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - RESERVE - size - 500_000)
    path = f"/v1/forecast/{record.id}/ensemble.zarr.zip"
    refused = api.get(path)
    assert (refused.status_code, refused.json()["type"]) == (507, "/problems/insufficient-storage")
    assert "MB are reserved for forecasts that were accepted before" in refused.json()["detail"]
    assert api.delete(f"/v1/forecast/{waiting.id}").status_code == 202
    assert api.get(path).status_code == 200
