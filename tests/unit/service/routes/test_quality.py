import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr

from diagnostics.evaluation.verification import score_forecast
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.quality import save_diagnostics
from jobs.request import Output
from jobs.rows.database import Database
from models.testing import tiny_spec
from tests.in_process import InProcess
from tests.rows import commit_lead_times, create_key, read_forecast, succeed
from tests.stored_files import list_receipt
from weather.stores.ensemble import EnsembleStore
from weather.testing import travelling_waves

Submit = Callable[..., ForecastRecord]

INIT_TIME = np.datetime64("2018-09-15T00", "s")


def _fill(data: Path, record: ForecastRecord) -> EnsembleStore:
    """Write random winds at all lead times of a forecast."""
    store, draw = EnsembleStore.open(ForecastFolder(data, record.id).store), np.random.default_rng(2)
    for lead_index in range(store.layout.num_lead_times):
        for group in range(store.layout.num_groups):
            shape = (len(store.layout.group_members(group)), 2, *store.layout.grid.shape)
            store.commit(group, lead_index, draw.normal(0, 5, shape).astype(np.float32))
    return store


@pytest.fixture
def forecast(submit_forecast: Submit, database: Database, tmp_path: Path) -> ForecastRecord:
    """A successful forecast of 5 members and 4 lead times."""
    record = submit_forecast()
    _fill(tmp_path, record)
    return succeed(database, record, list_receipt(tmp_path, record))


def _truth(folder: Path, *hours: int) -> xr.Dataset:
    """Write waves at some hours after the initial time to `truth.nc`, and return them."""
    times = [INIT_TIME + np.timedelta64(number, "h") for number in hours]
    truth = travelling_waves(tiny_spec().grid.grid, times)
    truth.to_netcdf(folder / "truth.nc")
    return truth


def _verify(
    api: InProcess, record: ForecastRecord, *files: tuple[str, bytes], reference: str = "waves", **options: Any
) -> httpx.Response:
    parts = [("truth", file) for file in files]
    return api.post(f"/v1/forecast/{record.id}/verify", data={"reference": reference}, files=parts, **options)


def _file(folder: Path) -> tuple[str, bytes]:
    return "truth.nc", (folder / "truth.nc").read_bytes()


def _verifications(api: InProcess, record: ForecastRecord) -> list[dict[str, Any]]:
    quality = api.get(f"/v1/forecast/{record.id}/diagnostics").json()
    verifications: list[dict[str, Any]] = quality["verifications"]
    return verifications


def test_a_verification_has_the_scores_that_the_command_line_computes_and_is_kept(
    api: InProcess, forecast: ForecastRecord, tmp_path: Path
) -> None:
    truth = _truth(tmp_path, 0, 6, 24)
    response = _verify(api, forecast, _file(tmp_path))
    assert response.status_code == 200, response.text
    view = response.json()
    frames = {
        INIT_TIME + np.timedelta64(hours, "h"): np.stack([truth[name].values[index] for name in ("u10", "v10")])
        for index, hours in enumerate((0, 6, 24))
    }
    store = EnsembleStore.open(ForecastFolder(tmp_path, forecast.id).store)
    expected = score_forecast(store, frames, None, forecast.request.seed)
    assert view["scores"]["scores"].keys() == expected["scores"].keys() >= {"u10", "v10"}
    for name, rows in expected["scores"].items():
        assert [row["lead_hours"] for row in view["scores"]["scores"][name]] == [6, 24]
        for row, own in zip(view["scores"]["scores"][name], rows, strict=True):
            for score in ("crps_fair", "rmse", "spread_skill", "persistence_mae"):
                assert row[score] == pytest.approx(own[score], rel=1e-6), (name, score)
            assert row["ranks"] == pytest.approx(own["ranks"])
    assert _verifications(api, forecast) == [view]


def test_each_verification_is_added_to_the_earlier_ones(
    api: InProcess, forecast: ForecastRecord, tmp_path: Path
) -> None:
    _truth(tmp_path, 6)
    views = [_verify(api, forecast, _file(tmp_path), reference=name).json() for name in ("era5", "waves", "era5")]
    assert [view["reference"] for view in views] == ["era5", "waves", "era5"]
    assert _verifications(api, forecast) == views
    created = [view["created"] for view in views]
    assert created == sorted(created)


def test_without_a_field_at_the_initial_time_persistence_is_not_scored(
    api: InProcess, forecast: ForecastRecord, tmp_path: Path
) -> None:
    _truth(tmp_path, 6)
    (row,) = _verify(api, forecast, _file(tmp_path)).json()["scores"]["scores"]["u10"]
    assert "persistence_mae" not in row


@pytest.mark.parametrize("reference", ["", "ERA5", "era 5", "-era5", "x" * 41, "era5\n", "é"])
def test_the_name_of_a_truth_is_short_and_simple(api: InProcess, forecast: ForecastRecord, reference: str) -> None:
    response = _verify(api, forecast, ("truth.nc", b"CDF"), reference=reference)
    problem = response.json()
    assert (response.status_code, problem["type"]) == (422, "/problems/validation"), problem
    assert [error["pointer"] for error in problem["errors"]] == ["/reference"]


@pytest.mark.parametrize("hours", [(0,), (30, 36)])
def test_a_truth_without_a_valid_time_of_the_forecast_is_refused(
    api: InProcess, forecast: ForecastRecord, tmp_path: Path, hours: tuple[int, ...]
) -> None:
    _truth(tmp_path, *hours)
    response = _verify(api, forecast, _file(tmp_path))
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["pointer"] == "/truth"
    assert _verifications(api, forecast) == []


def test_an_ensemble_that_cannot_be_scored_is_refused_before_its_truth_is_read(
    api: InProcess, database: Database, submit_forecast: Submit, tmp_path: Path
) -> None:
    single = submit_forecast(members=1)
    _fill(tmp_path, single)
    succeed(database, single)
    waiting = submit_forecast()
    summary_only = submit_forecast(output=Output(members=False))
    for record, status, text in (
        (single, 422, "at least 2 members"),
        (waiting, 409, "no complete lead time yet"),
        (summary_only, 404, "stores only its summary"),
    ):
        response = _verify(api, record, ("truth.nc", b"not read"))
        assert response.status_code == status, response.text
        assert text in response.json()["detail"]


def test_a_running_forecast_is_scored_at_its_complete_lead_times(
    api: InProcess, database: Database, submit_forecast: Submit, tmp_path: Path
) -> None:
    record = submit_forecast()
    store, fields = EnsembleStore.open(ForecastFolder(tmp_path, record.id).store), np.random.default_rng(3)
    for group in range(store.layout.num_groups):
        shape = (len(store.layout.group_members(group)), 2, *store.layout.grid.shape)
        store.commit(group, 0, fields.normal(0, 5, shape).astype(np.float32))
    commit_lead_times(database, 1)
    _truth(tmp_path, 6, 12)
    rows = _verify(api, record, _file(tmp_path)).json()["scores"]["scores"]["u10"]
    assert [row["lead_hours"] for row in rows] == [6]


def test_uploaded_truths_are_removed_also_if_they_are_refused(
    api: InProcess, forecast: ForecastRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    _truth(tmp_path, 6)
    assert _verify(api, forecast, _file(tmp_path)).status_code == 200
    assert _verify(api, forecast, ("letter.txt", b"Dear sirs")).status_code == 415
    assert _verify(api, forecast, _file(tmp_path), reference="?").status_code == 422
    assert _verify(api, forecast).status_code == 422
    assert list(temporary.iterdir()) == []


def test_diagnostics_are_listed_by_lead_time(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    record, other = submit_forecast(), submit_forecast()
    address = f"/v1/forecast/{record.id}/diagnostics"
    assert api.get(address).json() == {"lead_times": {}, "verifications": []}
    figures = {"variables": {"u10": {"spread": 1.5, "log_ratio": {"meso": -0.25}}}, "nonfinite_members": [3]}
    with database.write() as connection:
        for hours in (12, 6):
            save_diagnostics(connection, record.id, "untrained", {hours: figures})
        save_diagnostics(connection, other.id, "untrained", {18: figures})
    lead_times = api.get(address).json()["lead_times"]
    assert lead_times == {"6": figures, "12": figures}
    assert list(lead_times) == ["6", "12"]


def test_diagnostics_outlive_the_data_of_a_forecast(
    api: InProcess, database: Database, forecast: ForecastRecord
) -> None:
    with database.write() as connection:
        save_diagnostics(connection, forecast.id, "untrained", {6: {"variables": {}, "nonfinite_members": []}})
    assert api.delete(f"/v1/forecast/{forecast.id}").status_code == 204
    assert list(api.get(f"/v1/forecast/{forecast.id}/diagnostics").json()["lead_times"]) == ["6"]
    assert _verify(api, forecast, ("truth.nc", b"not read")).status_code == 410


def test_another_owner_can_neither_read_nor_verify_a_forecast(
    api: InProcess, database: Database, forecast: ForecastRecord
) -> None:
    _, secret = create_key(database, "desk")
    headers = {"PRIVATE-TOKEN": secret}
    assert api.get(f"/v1/forecast/{forecast.id}/diagnostics", headers=headers).status_code == 404
    assert _verify(api, forecast, ("truth.nc", b"not read"), headers=headers).status_code == 404
    assert read_forecast(database, forecast.id) == forecast
