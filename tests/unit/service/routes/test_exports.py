"""Forecasts as NetCDF and GRIB 2 files, requested of the service."""

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import httpx
import numpy as np
import pytest
import xarray as xr

from diagnostics.ensemble_summary import compute_summary
from jobs.dispatching.leases import Lease
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.request import Output
from jobs.rows.database import Database
from service.problems import TOO_BUSY, TOO_SLOW, ServiceError
from service.routes.exports import encode_patiently
from tests.in_process import InProcess
from tests.rows import cancel_forecast, commit_lead_times
from tests.stored_files import write_lead_times
from weather.stores.ensemble import EnsembleStore
from weather.stores.summary import SummaryStore
from weather.stores.summary_layout import SummaryLayout


def _write(record: ForecastRecord, data: Path, lead_indices: range, fill: float | None = None) -> None:
    """Write lead times of both stores of a forecast, with random fields, or all of one value."""
    folder = ForecastFolder(data, record.id)
    store = EnsembleStore.open(folder.store)
    layout = SummaryLayout(store.layout, record.request.summary)
    summary = SummaryStore(folder.summary, layout)
    for lead_index, groups in write_lead_times(store, lead_indices, fill).items():
        summary.write(lead_index, *compute_summary(groups, layout))


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


def _get(api: InProcess, record: ForecastRecord, name: str, **headers: str) -> httpx.Response:
    given = {header.replace("_", "-"): value for header, value in headers.items()}
    response: httpx.Response = api.get(f"/v1/forecast/{record.id}/{name}", headers=given)
    return response


def _open(response: httpx.Response) -> xr.Dataset:
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/x-netcdf"
    assert response.headers["Content-Length"] == str(len(response.content))
    dataset: xr.Dataset = xr.open_dataset(io.BytesIO(response.content), engine="scipy", decode_timedelta=True).load()
    return dataset


@pytest.mark.parametrize(("name", "store"), [("ensemble.nc", "ensemble.zarr"), ("summary.nc", "summary.zarr")])
def test_a_running_forecast_has_its_complete_lead_times(
    api: InProcess,
    record: ForecastRecord,
    database: Database,
    claimed: Sequence[Lease],
    tmp_path: Path,
    name: str,
    store: str,
) -> None:
    first = _get(api, record, name)
    assert _open(first).sizes["valid_time"] == 2
    assert first.headers["Cache-Control"] == "public, no-cache"
    _write(record, tmp_path, range(2, 3))
    commit_lead_times(database, 3, claimed)
    second = _get(api, record, name, If_None_Match=first.headers["ETag"])
    expected = (
        xr.open_zarr(ForecastFolder(tmp_path, record.id).path / store).isel(init_time=0, lead_time=slice(3)).load()
    )
    found = _open(second)
    assert found.sizes["valid_time"] == 3
    for field in found:
        np.testing.assert_array_equal(found[field].values, expected[field].values)


def test_a_file_with_an_end_in_time_does_not_change_and_is_resumed_while_the_forecast_grows(
    api: InProcess, record: ForecastRecord, database: Database, claimed: Sequence[Lease], tmp_path: Path
) -> None:
    start = xr.open_zarr(ForecastFolder(tmp_path, record.id).store).init_time.values[0].astype("datetime64[s]")
    for form in ("nc", "grib2"):
        name = f"ensemble.{form}?datetime=../{start + np.timedelta64(12, 'h')}Z"
        whole = _get(api, record, name)
        assert whole.status_code == 200
        half = len(whole.content) // 2
        headers = {"Range": f"bytes={half}-", "If_Range": whole.headers["ETag"]}
        if form == "nc":
            _write(record, tmp_path, range(2, 3))
            commit_lead_times(database, 3, claimed)
        rest = _get(api, record, name, **headers)
        assert (rest.status_code, rest.content) == (206, whole.content[half:])
        assert rest.headers["Content-Range"] == f"bytes {half}-{len(whole.content) - 1}/{len(whole.content)}"
        assert _get(api, record, name, If_None_Match=whole.headers["ETag"]).status_code == 304
        assert _get(api, record, name, Range=f"bytes={10**12}-").status_code == 416


def test_any_range_is_that_of_the_whole_file(api: InProcess, record: ForecastRecord) -> None:
    for name in ("ensemble.nc", "ensemble.grib2", "summary.nc", "summary.grib2"):
        whole, draw = _get(api, record, name).content, np.random.default_rng(1)
        for _ in range(20):
            first, last = sorted(draw.integers(0, len(whole), 2).tolist())
            part = _get(api, record, name, Range=f"bytes={first}-{last}")
            assert (part.status_code, part.content) == (206, whole[first : last + 1]), (name, first, last)


def test_a_dismissed_forecast_keeps_its_files_which_caches_may_keep(
    api: InProcess, record: ForecastRecord, database: Database
) -> None:
    cancel_forecast(database, record.id, record.owner)
    response = _get(api, record, "ensemble.grib2")
    assert (response.status_code, response.content[:4], response.content[-4:]) == (200, b"GRIB", b"7777")
    assert response.headers["Content-Type"] == "application/x-grib"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{record.id}.grib2"'
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    options = api.request("OPTIONS", f"/v1/forecast/{record.id}/ensemble.grib2")
    assert options.headers["Access-Control-Allow-Methods"] == "GET, HEAD"


def test_a_forecast_of_lost_members_has_an_empty_grib_file(
    api: InProcess, submit_forecast: Callable[..., ForecastRecord], database: Database, tmp_path: Path
) -> None:
    record = submit_forecast(seed=9)
    _write(record, tmp_path, range(1), np.nan)
    commit_lead_times(database, 1)
    for name in ("ensemble.grib2", "summary.grib2"):
        response = _get(api, record, name)
        assert (response.status_code, response.content, response.headers["Content-Length"]) == (200, b"", "0")
    assert np.isnan(_open(_get(api, record, "ensemble.nc")).u10).all()


@pytest.mark.parametrize(
    ("name", "pointers"),
    [
        ("ensemble.nc?members=99", {"?members"}),
        ("ensemble.nc?members=a&bbox=1,2", {"?bbox"}),
        ("ensemble.grib2?bbox=1,2&datetime=soon", {"?bbox", "?datetime"}),
        ("ensemble.grib2?parameter-name=t2m", {"?parameter-name"}),
        ("summary.nc?members=0", {"?members"}),
        ("summary.grib2?datetime=1999-01-01", {"?datetime"}),
        ("summary.grib2?bbox=0.1,0.1,0.2,0.2", {"?bbox"}),
        ("ensemble.nc?f=json", {"?f"}),
    ],
)
def test_a_wrong_parameter_is_pointed_at(api: InProcess, record: ForecastRecord, name: str, pointers: set[str]) -> None:
    problem = _get(api, record, name).json()
    assert (problem["status"], problem["type"]) == (422, "/problems/validation"), problem
    assert {error["pointer"] for error in problem["errors"]} == pointers


def test_what_does_not_exist_is_a_problem(
    api: InProcess, submit_forecast: Callable[..., ForecastRecord], database: Database
) -> None:
    for output, name, expected in (
        (Output(), "ensemble.nc", (409, "/problems/not-finished")),
        (Output(), "summary.grib2", (409, "/problems/not-finished")),
        (Output(members=False), "ensemble.grib2", (404, "/problems/not-found")),
    ):
        response = _get(api, submit_forecast(output=output), name)
        assert (response.status_code, response.json()["type"]) == expected
    committed = submit_forecast(seed=8)
    commit_lead_times(database, 1)
    response = _get(api, committed, "summary.nc")
    assert (response.status_code, response.json()["type"]) == (409, "/problems/not-finished"), "not yet published"


def test_an_export_that_has_begun_waits_for_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bytes | ServiceError] = [ServiceError(TOO_BUSY, "busy"), ServiceError(TOO_BUSY, "busy"), b"block"]
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def encode() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    monkeypatch.setattr("service.routes.exports.anyio.sleep", sleep)
    assert anyio.run(encode_patiently, partial(encode)) == b"block"
    assert slept == [TOO_BUSY.retry_after] * 2
    answers.append(ServiceError(TOO_SLOW, "slow"))
    with pytest.raises(ServiceError, match="slow"):
        anyio.run(encode_patiently, partial(encode))
