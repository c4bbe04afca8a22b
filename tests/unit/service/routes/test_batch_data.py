"""The stores of a batch: equal to those of its parts, concatenated; growing, damaged, deleted and of other keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr
import zarr
from sqlalchemy import update
from zarr.core.buffer import Buffer

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from tests.in_process import InProcess
from tests.rows import create_key
from tests.stored_files import write_lead_times
from weather.stores.ensemble import EnsembleStore
from weather.stores.summary import SummaryStore
from weather.stores.summary_layout import SummaryLayout
from weather.stores.summary_request import Summary

DAYS = ("2018-09-15T00:00:00", "2018-09-17T00:00:00", "2018-09-16T00:00:00")
LAT = "latitude/c.0"
Submit = Callable[..., ForecastRecord]


@pytest.fixture
def batch(api: InProcess, submit_forecast: Submit) -> dict[str, Any]:
    """A batch of three days: five members in groups of two, two lead times."""
    sources = [{"source": "forecast", "id": submit_forecast(init_time=day).id} for day in DAYS]
    body = {"model": "untrained", "members": 5, "lead_time": "12h", "seed": 7, "sampler": {"nfe": 2}}
    api.app.state.service.settings.worker.__dict__["group_size"] = 2
    response = api.post("/v1/batch", json=body | {"initial_states": sources, "summary": {"quantiles": [0.5]}})
    assert response.status_code == 202, response.text
    view: dict[str, Any] = response.json()
    return view


def _folder(tmp_path: Path, batch: dict[str, Any], index: int) -> ForecastFolder:
    return ForecastFolder(tmp_path, batch["parts"][index]["id"])


def _write(folder: ForecastFolder, num_lead_times: int) -> None:
    """Write lead times of a part, and their statistics, as a worker does."""
    store = EnsembleStore.open(folder.store)
    write_lead_times(store, range(num_lead_times))
    layout = SummaryLayout(store.layout, Summary(quantiles=(0.5,)))
    summary = SummaryStore(folder.summary, layout)
    draw = np.random.default_rng(num_lead_times)
    for lead_index in range(num_lead_times):
        shapes = {
            name: (*(size for _, size in dims), *store.layout.grid.shape) for name, dims, _ in layout.statistics()
        }
        summary.write(lead_index, 5, {name: draw.normal(0, 5, shape).astype("f4") for name, shape in shapes.items()})


def _open(api: InProcess, address: str) -> xr.Dataset:
    """Open a store through the routes, as `xarray.open_zarr` does over HTTP: a file that is missing is a 404."""

    class Files(dict[str, Buffer]):
        def __missing__(self, key: str) -> Buffer:
            response: httpx.Response = api.get(f"{address}/{key}")
            if response.status_code == 404:
                raise KeyError(key)
            assert response.status_code == 200, response.text
            return zarr.core.buffer.cpu.Buffer.from_bytes(response.content)

        def get(self, key: str, default: Any = None) -> Any:
            try:
                return self[key]
            except KeyError:
                return default

        def __contains__(self, key: object) -> bool:
            return api.head(f"{address}/{key}").status_code == 200

    return xr.open_zarr(zarr.storage.MemoryStore(Files()), consolidated=True)


@pytest.mark.parametrize("store", ["ensemble.zarr", "summary.zarr"])
def test_the_store_of_a_batch_equals_those_of_its_parts_concatenated(
    api: InProcess, batch: dict[str, Any], tmp_path: Path, store: str
) -> None:
    for index, num_lead_times in enumerate((2, 0, 1)):
        _write(_folder(tmp_path, batch, index), num_lead_times)
    joined = _open(api, f"/v1/batch/{batch['id']}/{store}").load()
    parts = [xr.open_zarr(_folder(tmp_path, batch, index).path / store).load() for index in range(3)]
    for name in {"complete", "members"} & set(parts[0].data_vars):
        parts = [part.assign({name: part[name].expand_dims(init_time=part.init_time)}) for part in parts]
    expected = xr.concat(parts, "init_time", data_vars="minimal", coords="minimal", compat="equals", join="exact")
    xr.testing.assert_equal(joined, expected)
    assert joined.init_time.values.tolist() == [np.datetime64(day, "ns").astype(int) for day in DAYS]
    assert joined.sizes["init_time"] == 3
    assert joined.complete.sum() > 0
    assert np.isnan(joined["u10" if store == "ensemble.zarr" else "u10_mean"].sel(init_time=DAYS[1])).all()
    assert joined.attrs["warmcast_batch"] == batch["id"]
    assert DAYS[1] in joined.attrs["title"]


def test_an_open_dataset_sees_lead_times_as_they_come(api: InProcess, batch: dict[str, Any], tmp_path: Path) -> None:
    dataset = _open(api, f"/v1/batch/{batch['id']}/ensemble.zarr")
    assert np.isnan(dataset.u10.isel(lead_time=0, number=0)).all()
    _write(_folder(tmp_path, batch, 1), 1)
    seen = np.isfinite(dataset.u10.isel(lead_time=0, number=0)).all(("latitude", "longitude"))
    assert seen.values.tolist() == [False, True, False]


def test_deleted_data_is_never_read_as_missing(
    api: InProcess, batch: dict[str, Any], tmp_path: Path, database: Database
) -> None:
    home = f"/v1/batch/{batch['id']}/ensemble.zarr"
    for index in range(3):
        _write(_folder(tmp_path, batch, index), 1)
    api.delete(f"/v1/forecast/{batch['parts'][0]['id']}")
    assert api.delete(f"/v1/forecast/{batch['parts'][0]['id']}").status_code == 204
    gone = api.get(f"{home}/u10/c.0.0.0.0.0")
    assert (gone.status_code, gone.json()["type"]) == (410, "/problems/data-gone")
    assert api.get(f"{home}/u10/c.1.0.0.0.0").status_code == 200
    assert api.get(f"{home}/zarr.json").status_code == api.get(f"{home}/{LAT}").status_code == 200
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.batch_id == batch["id"]).values(data="expired"))
    for key in ("zarr.json", LAT, "u10/c.1.0.0.0.0", "complete/c.1.0.0"):
        assert api.get(f"{home}/{key}").status_code == 410, key


def test_metadata_comes_from_an_intact_part_and_a_damaged_chunk_is_refused(
    api: InProcess, batch: dict[str, Any], tmp_path: Path
) -> None:
    for index in range(3):
        _write(_folder(tmp_path, batch, index), 1)
    (Path(str(_folder(tmp_path, batch, 0).store)) / "zarr.json").write_text("{")
    (Path(str(_folder(tmp_path, batch, 1).store)) / LAT).write_bytes(b"no latitude")
    home = f"/v1/batch/{batch['id']}/ensemble.zarr"
    assert _open(api, home).sizes["init_time"] == 3
    (Path(str(_folder(tmp_path, batch, 2).store)) / "u10/c.0.0.0.0.0").write_bytes(b"no chunk")
    damaged = api.get(f"{home}/u10/c.2.0.0.0.0")
    assert (damaged.status_code, damaged.json()["type"]) == (409, "/problems/damaged")
    assert [part["damaged"] for part in api.get(f"/v1/batch/{batch['id']}").json()["parts"]] == [True, True, True]


def test_other_keys_are_not_found(api: InProcess, batch: dict[str, Any], tmp_path: Path) -> None:
    _write(_folder(tmp_path, batch, 0), 1)
    keys = ("u10/c.3.0.0.0.0", "u10/c.0.0.0.0", "u10/c.0.0.0.0.0.0", "complete/c.0.0", "u10", "c", "no/zarr.json")
    for key in (*keys, "../zarr.json"):
        assert api.get(f"/v1/batch/{batch['id']}/ensemble.zarr/{key}").status_code == 404, key


def test_headers_are_those_of_stores(api: InProcess, batch: dict[str, Any], tmp_path: Path) -> None:
    _write(_folder(tmp_path, batch, 0), 1)
    home = f"/v1/batch/{batch['id']}/ensemble.zarr"
    for key in ("zarr.json", LAT, "u10/c.0.0.0.0.0"):
        whole, head = api.get(f"{home}/{key}"), api.head(f"{home}/{key}")
        assert head.headers["ETag"] == whole.headers["ETag"]
        assert whole.headers["Access-Control-Allow-Origin"] == "*"
        assert "no-cache" in whole.headers["Cache-Control"]
        same = api.get(f"{home}/{key}", headers={"If-None-Match": whole.headers["ETag"]})
        assert same.status_code == 304
    part = api.get(f"{home}/u10/c.0.0.0.0.0", headers={"Range": "bytes=0-3"})
    assert (part.status_code, len(part.content)) == (206, 4)
    assert api.get(f"{home}/u10/c.1.0.0.0.0").headers["Cache-Control"] == "no-store"
    assert api.request("OPTIONS", f"{home}/zarr.json").headers["Access-Control-Allow-Methods"] == "GET, HEAD"


def test_another_key_finds_no_file(api: InProcess, batch: dict[str, Any], database: Database, tmp_path: Path) -> None:
    _write(_folder(tmp_path, batch, 0), 1)
    assert api.get(f"/v1/batch/{batch['id']}/ensemble.zarr/zarr.json").status_code == 200
    headers = {"Authorization": f"Bearer {create_key(database, 'two')[1]}"}
    for store in ("ensemble.zarr", "summary.zarr"):
        for key in ("zarr.json", LAT, "u10/c.0.0.0.0.0", "u10/c.9.0.0.0.0"):
            for method in ("GET", "HEAD"):
                response = api.request(method, f"/v1/batch/{batch['id']}/{store}/{key}", headers=headers)
                assert response.status_code == 404
                if method == "GET":
                    assert response.json()["type"] == "/problems/no-such-batch"
