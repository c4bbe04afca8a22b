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
from tests.in_process import InProcess
from tests.rows import cancel_forecast, commit_lead_times
from tests.stored_files import write_lead_times
from weather.stores.ensemble import EnsembleStore

pytestmark = pytest.mark.usefixtures("threads")


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
