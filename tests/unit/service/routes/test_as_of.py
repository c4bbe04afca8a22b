"""The view of a forecast that does not grow, read like any Zarr store."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from sqlalchemy import update

from jobs.dispatching.leases import Lease
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from service.routes import as_of
from tests.in_process import InProcess
from tests.rows import cancel_forecast, commit_lead_times
from tests.stored_files import write_lead_times
from weather.stores.ensemble import EnsembleStore
from weather.stores.summary import SummaryStore
from weather.stores.summary_layout import SummaryLayout


def _write(record: ForecastRecord, data: Path, lead_indices: range) -> None:
    write_lead_times(EnsembleStore.open(ForecastFolder(data, record.id).store), lead_indices)


@pytest.fixture
def record(submit_forecast: Callable[..., ForecastRecord], tmp_path: Path) -> ForecastRecord:
    """A running forecast with two complete lead times."""
    record = submit_forecast()
    _write(record, tmp_path, range(2))
    return record


@pytest.fixture(autouse=True)
def claimed(record: ForecastRecord, database: Database) -> Sequence[Lease]:
    """The leases on the groups of the forecast."""
    return commit_lead_times(database, 2)


def _open(api: InProcess, record: ForecastRecord, number: int) -> xr.Dataset:
    """Open the view through the service: what it answers with 404 is missing, as for any reader of Zarr."""
    home = f"/v1/forecast/{record.id}/as-of/{number}/ensemble.zarr"
    root = api.get(f"{home}/zarr.json")
    assert root.status_code == 200, root.text
    files = {"zarr.json": root.content}
    arrays = root.json()["consolidated_metadata"]["metadata"]
    for name, metadata in arrays.items():
        shape, chunks = metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
        for index in np.ndindex(*(-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True))):
            key = f"{name}/c.{'.'.join(map(str, index))}"
            response = api.get(f"{home}/{key}")
            assert response.status_code == 200, "no chunk of a view is missing"
            files[key] = response.content
    memory = {key: zarr.core.buffer.cpu.Buffer.from_bytes(content) for key, content in files.items()}
    dataset: xr.Dataset = xr.open_zarr(zarr.storage.MemoryStore(memory)).load()
    return dataset


def test_a_view_stays_the_same_while_the_forecast_grows(
    api: InProcess, record: ForecastRecord, database: Database, claimed: Sequence[Lease], tmp_path: Path
) -> None:
    first = _open(api, record, 1)
    assert (first.sizes["lead_time"], int((first.complete == 0).sum())) == (1, 0)
    second = _open(api, record, 2)
    _write(record, tmp_path, range(2, 3))
    commit_lead_times(database, 3, claimed)
    xr.testing.assert_identical(_open(api, record, 1), first)
    xr.testing.assert_identical(_open(api, record, 2), second)
    store = xr.open_zarr(ForecastFolder(tmp_path, record.id).store).load()
    xr.testing.assert_identical(_open(api, record, 3), store.isel(lead_time=slice(3)))
    xr.testing.assert_identical(second, store.isel(lead_time=slice(2)))


def test_a_zip_of_a_running_forecast_is_the_view_and_stays_the_same(
    api: InProcess, record: ForecastRecord, database: Database, claimed: Sequence[Lease], tmp_path: Path
) -> None:
    path = f"/v1/forecast/{record.id}/as-of/2/ensemble.zarr.zip"
    response = api.get(path)
    assert response.headers["Content-Type"] == "application/zip"
    assert f'filename="{record.id}-first-2.zarr.zip"' in response.headers["Content-Disposition"]
    assert int(response.headers["Content-Length"]) == len(response.content)
    (tmp_path / "view.zip").write_bytes(response.content)
    with zarr.storage.ZipStore(tmp_path / "view.zip", mode="r") as store:
        xr.testing.assert_identical(xr.open_zarr(store).load(), _open(api, record, 2))
    _write(record, tmp_path, range(2, 3))
    commit_lead_times(database, 3, claimed)
    as_of.forget()
    again = api.get(path)
    assert (again.content, again.headers["ETag"]) == (response.content, response.headers["ETag"])
    cancel_forecast(database, record.id, record.owner)
    assert api.get(path).content == response.content
    assert len(api.get(path.replace("/2/", "/3/")).content) > len(response.content)


def test_a_zip_is_continued_by_ranges_and_not_sent_to_clients_that_have_it(
    api: InProcess, record: ForecastRecord
) -> None:
    path = f"/v1/forecast/{record.id}/as-of/2/ensemble.zarr.zip"
    whole = api.get(path)
    etag, size = whole.headers["ETag"], len(whole.content)
    assert not etag.startswith("W/")
    assert api.get(path, headers={"If-None-Match": etag}).status_code == 304
    assert int(api.request("HEAD", path).headers["Content-Length"]) == size
    received = b""
    as_of.forget()
    for start in range(0, size, size // 7):
        part = api.get(path, headers={"Range": f"bytes={start}-{start + size // 7 - 1}", "If-Range": etag})
        assert (part.status_code, part.headers["ETag"]) == (206, etag)
        received += part.content
    assert received == whole.content
    assert api.get(path, headers={"Range": f"bytes={size}-"}).status_code == 416


def test_a_zip_with_a_chunk_that_is_missing_is_refused(api: InProcess, record: ForecastRecord, tmp_path: Path) -> None:
    path, folder = f"/v1/forecast/{record.id}/as-of/2/ensemble.zarr.zip", ForecastFolder(tmp_path, record.id).store
    chunk = Path(str(folder)) / "u10/c.0.1.0.0.0"
    chunk.unlink()
    assert api.get(path).json()["type"] == "/problems/damaged"


def test_the_summary_of_the_first_lead_times_is_a_view_and_a_zip_too(
    api: InProcess, record: ForecastRecord, tmp_path: Path
) -> None:
    home, folder = f"/v1/forecast/{record.id}/as-of/2/summary.zarr", ForecastFolder(tmp_path, record.id)
    assert api.get(f"{home}.zip").json()["type"] == "/problems/not-finished", "committed, but not yet summarised"
    layout = SummaryLayout(EnsembleStore.open(folder.store).layout, record.request.summary)
    summary, shape = SummaryStore(folder.summary, layout), layout.ensemble.grid.shape
    for lead_index in range(2):
        fields = {
            name: np.full((*(size for _, size in dims), *shape), lead_index, np.float32)
            for name, dims, _ in layout.statistics()
        }
        summary.write(lead_index, 3, fields)
    response = api.get(f"{home}.zip")
    assert f"{record.id}-summary-first-2.zarr.zip" in response.headers["Content-Disposition"]
    (tmp_path / "view.zip").write_bytes(response.content)
    with zarr.storage.ZipStore(tmp_path / "view.zip", mode="r") as store:
        frozen = xr.open_zarr(store).load()
        assert {name: len(api.get(f"{home}/{name}").content) for name in ("zarr.json", "u10_mean/zarr.json")}
    xr.testing.assert_identical(frozen, xr.open_zarr(folder.summary).load().isel(lead_time=slice(2)))
    assert frozen.u10_mean.values[0, :, 0, 0].tolist() == [0, 1]


def test_caches_may_keep_metadata_for_ever_and_clients_that_have_it_get_nothing(
    api: InProcess, record: ForecastRecord
) -> None:
    path = f"/v1/forecast/{record.id}/as-of/2/ensemble.zarr/zarr.json"
    response = api.get(path)
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert api.get(path, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304
    assert api.request("HEAD", path).headers["ETag"] == response.headers["ETag"]
    assert api.request("OPTIONS", path).headers["Access-Control-Allow-Methods"] == "GET, HEAD"


def test_lead_times_that_are_not_complete_or_never_will_be_are_different_problems(
    api: InProcess, record: ForecastRecord, database: Database
) -> None:
    def problem(number: int | str, key: str = "zarr.json") -> tuple[int, str]:
        response = api.get(f"/v1/forecast/{record.id}/as-of/{number}/ensemble.zarr/{key}")
        return response.status_code, response.json()["type"].removeprefix("/problems/")

    assert problem(3) == (409, "not-finished")
    assert problem(record.num_lead_times + 1) == (404, "not-found")
    assert problem(2, "u10/c.0.2.0.0.0") == problem(2, "u10/zarr.yaml") == problem(2, "../../x") == (404, "not-found")
    assert {problem(number) for number in (0, -1, "two", 10**9)} == {(422, "validation")}
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.id == record.id).values(lead_times=3))
    assert problem(3) == (409, "not-finished"), "committed, but not yet published"
    cancel_forecast(database, record.id, record.owner)
    assert problem(4) == (404, "not-found")
