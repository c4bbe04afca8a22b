"""Every route that needs a file of a forecast answers its damage with a problem without paths, never with values."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from sqlalchemy import update

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from tests.in_process import InProcess
from tests.rows import succeed
from tests.served import small_request
from tests.stored_files import list_receipt, write_lead_times
from weather.stores.ensemble import EnsembleStore
from weather.stores.promises import mark_of

CHUNK, OTHER, MARK = "ensemble.zarr/u10/c.0.0.0.0.0", "ensemble.zarr/u10/c.0.1.0.0.0", "ensemble.zarr/complete/c.0.0"
ROOT, SUMMARY, STATE = "ensemble.zarr/zarr.json", "summary.zarr/zarr.json", "initial_state/initial_state.npy"
MAPS, PLUME, ZIP = "/plots/maps.png?lead_time=6h", "/plots/plume.png", "/ensemble.zarr.zip"
SERIES, NETCDF, GRIB, SUMMARY_NETCDF = "/position?coords=POINT(0 0)", "/ensemble.nc", "/ensemble.grib2", "/summary.nc"
FROZEN_MARK = "/as-of/1/ensemble.zarr/complete/c.0.0"
AREA = "/cube?bbox=0,0,30,30"
DAMAGES = ("flipped", "empty", "short", "missing", "folder", "exchanged")
NEEDS = {
    CHUNK: (f"/{CHUNK}", MAPS, PLUME, SERIES, AREA, GRIB, ZIP),
    MARK: (f"/{MARK}", MAPS, NETCDF, GRIB, ZIP, FROZEN_MARK),
    ROOT: (f"/{ROOT}", MAPS, SERIES, NETCDF, ZIP),
    SUMMARY: (f"/{SUMMARY}", SUMMARY_NETCDF),
    STATE: (PLUME, SERIES, "/initial_state.zarr/zarr.json", "/replay"),
    "files.json": (f"/{CHUNK}", MAPS, SERIES, ZIP),
}


@pytest.fixture
def record(submit_forecast: Callable[..., ForecastRecord], database: Database, tmp_path: Path) -> ForecastRecord:
    """A successful forecast with random fields, whose files are listed."""
    record = submit_forecast(checkpoint="untrained")
    store = EnsembleStore.open(ForecastFolder(tmp_path, record.id).store)
    write_lead_times(store, range(store.layout.num_lead_times))
    return succeed(database, record, list_receipt(tmp_path, record))


@pytest.fixture
def folder(record: ForecastRecord, tmp_path: Path) -> Path:
    """The folder of the fixture `record`."""
    return tmp_path / "forecasts" / record.id


def _damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "exchanged":
        others = [other for other in sorted(path.parent.iterdir()) if other.is_file() and other.read_bytes() != content]
        same = [other for other in others if other.name.startswith(path.name[:2])]
        shutil.copy([path.parent.parent / "receipt.json", *others, *same][-1], path)
    elif kind != "missing":
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"flipped": flipped, "empty": b"", "short": content[:-1]}[kind])


def _request(api: InProcess, record: ForecastRecord, path: str) -> httpx.Response:
    address = f"/v1/forecast/{record.id}{path}"
    response: httpx.Response = api.post(address, json={"members": [1]}) if path == "/replay" else api.get(address)
    return response


@pytest.mark.parametrize("name", NEEDS)
def test_damage_is_a_problem_without_paths_on_every_route_that_reads_the_file(
    api: InProcess, record: ForecastRecord, folder: Path, tmp_path: Path, name: str
) -> None:
    (folder / "receipt.json").write_text("{}")
    intact = (folder / name).read_bytes()
    for kind in DAMAGES:
        _damage(folder / name, kind)
        for path in NEEDS[name]:
            response = _request(api, record, path)
            problem = response.json()
            assert (response.status_code, problem["type"], problem["retryable"]) == (409, "/problems/damaged", False), (
                kind,
                path,
                response.text,
            )
            assert name.partition("/")[0] in problem["detail"]
            assert str(tmp_path) not in response.text
        if (folder / name).is_dir():
            (folder / name).rmdir()
        (folder / name).write_bytes(intact)
    codes = [warning["code"] for warning in api.get(f"/v1/forecast/{record.id}").json()["warnings"]]
    assert codes == ["damaged"]
    assert "warmcast_damaged_forecasts 1.0" in api.get("/metrics").text


def test_a_damaged_part_of_a_batch_is_a_problem_on_the_routes_of_the_batch_that_need_it(
    api: InProcess, submit_forecast: Callable[..., ForecastRecord], database: Database, tmp_path: Path
) -> None:
    source = {"source": "forecast", "id": submit_forecast(checkpoint="untrained").id}
    body = small_request(lead_time="6h", initial_states=[source])
    del body["initial_state"]
    batch = api.post("/v1/batch", json=body).json()
    home, folder = f"/v1/batch/{batch['id']}", tmp_path / "forecasts" / batch["parts"][0]["id"]
    write_lead_times(EnsembleStore.open(folder / "ensemble.zarr"), range(1))
    with database.write() as connection:
        values = {"status": "failed", "lead_times": 1, "finished": 1e9}
        connection.execute(update(forecasts).where(forecasts.c.batch_id == batch["id"]).values(values))
    for name, method, path in (
        (ROOT, "GET", "/ensemble.zarr/zarr.json"),
        (SUMMARY, "GET", "/summary.zarr/zarr.json"),
        (CHUNK, "GET", "/ensemble.zarr/u10/c.0.0.0.0.0"),
        (STATE, "POST", "/restart"),
    ):
        intact = (folder / name).read_bytes()
        for kind in ("empty", "short", "missing"):
            _damage(folder / name, kind)
            response = api.request(method, f"{home}{path}")
            problem = response.json()
            assert (response.status_code, problem["type"]) == (409, "/problems/damaged"), (name, kind, response.text)
            assert str(tmp_path) not in response.text
            (folder / name).write_bytes(intact)
    (part,) = api.get(home).json()["parts"]
    assert (part["id"], part["damaged"], part["status"]) == (folder.name, True, "failed")


def test_the_view_of_a_batch_takes_no_metadata_that_differs_from_the_list_of_the_files_of_its_part(
    api: InProcess, record: ForecastRecord, folder: Path, database: Database
) -> None:
    source = {"source": "forecast", "id": record.id}
    body = small_request(initial_states=[source])
    del body["initial_state"]
    batch = api.post("/v1/batch", json=body).json()
    with database.write() as connection:
        released = {"batch_id": None, "batch_index": None}
        connection.execute(update(forecasts).where(forecasts.c.batch_id == batch["id"]).values(released))
        values = {"batch_id": batch["id"], "batch_index": 0}
        connection.execute(update(forecasts).where(forecasts.c.id == record.id).values(values))
    for name in (ROOT, SUMMARY):
        intact = (folder / name).read_text()
        (folder / name).write_text(intact.replace("u10", "v10", 1))
        response = api.get(f"/v1/batch/{batch['id']}/{name}")
        assert (response.status_code, response.json().get("type")) == (409, "/problems/damaged"), name
        (folder / name).write_text(intact)
        assert api.get(f"/v1/batch/{batch['id']}/{name}").status_code == 200


def test_ranges_of_a_damaged_chunk_are_refused_too(api: InProcess, record: ForecastRecord, folder: Path) -> None:
    _damage(folder / CHUNK, "flipped")
    response = api.get(f"/v1/forecast/{record.id}/{CHUNK}", headers={"Range": "bytes=0-3"})
    assert response.json()["type"] == "/problems/damaged"


def test_a_chunk_that_its_mark_promises_is_damaged_and_any_other_is_not_written_yet(
    api: InProcess, submit_forecast: Callable[..., ForecastRecord], tmp_path: Path
) -> None:
    record = submit_forecast()
    folder = ForecastFolder(tmp_path, record.id)
    store = EnsembleStore.open(folder.store)
    store.commit(0, 0, np.zeros((2, 2, *store.layout.grid.shape), np.float32))
    for key in (
        OTHER,
        "ensemble.zarr/u10/c.0.0.0.0",
        "ensemble.zarr/u10/c.0.0.0.0.9",
        "ensemble.zarr/rain/c.0.0.0.0.0",
    ):
        assert api.get(f"/v1/forecast/{record.id}/{key}").json()["type"] == "/problems/not-found"
    assert not api.get(f"/v1/forecast/{record.id}").json()["warnings"]
    (folder.path / CHUNK).remove()
    assert api.get(f"/v1/forecast/{record.id}/{CHUNK}").json()["type"] == "/problems/damaged"


def test_a_chunk_that_is_written_while_its_absence_is_explained_is_sent_and_not_recorded_as_damage(
    api: InProcess, submit_forecast: Callable[..., ForecastRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = submit_forecast()
    store = EnsembleStore.open(ForecastFolder(tmp_path, record.id).store)

    def write_and_find_mark(name: str, key: str) -> str | None:
        store.commit(0, 0, np.zeros((2, 2, *store.layout.grid.shape), np.float32))
        return mark_of(name, key)

    monkeypatch.setattr("service.routes.data.mark_of", write_and_find_mark)
    response = api.get(f"/v1/forecast/{record.id}/{CHUNK}")
    assert (response.status_code, response.content) == (200, (tmp_path / "forecasts" / record.id / CHUNK).read_bytes())
    assert not api.get(f"/v1/forecast/{record.id}").json()["warnings"]


@pytest.mark.parametrize("kind", ["flipped", "empty", "short", "exchanged"])
def test_a_damaged_zip_is_built_again(api: InProcess, record: ForecastRecord, folder: Path, kind: str) -> None:
    intact = _request(api, record, ZIP).content
    _damage(folder / "ensemble.zarr.zip", kind)
    again = _request(api, record, ZIP)
    assert (again.status_code, again.content) == (200, intact)
    with zipfile.ZipFile(io.BytesIO(again.content)) as archive:
        assert archive.testzip() is None
