import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from diagnostics.scores.crps import crps_fair
from warmcast.cli import app
from weather.climatology import Climatology
from weather.grids import Grid
from weather.manifest import ModelSpec
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout
from weather.testing import travelling_waves

INIT_TIME = np.datetime64("2018-09-15T00", "s")
MEMBERS = 5


@pytest.fixture
def forecast(spec: ModelSpec, tmp_path: Path) -> Path:
    """A forecast of four lead times and two groups: the truth plus noise of unit variance."""
    layout = Layout(INIT_TIME, 4, np.timedelta64(6, "h"), tuple(range(MEMBERS)), 3, ("u10", "v10"), spec.grid.grid)
    store = EnsembleStore.create(tmp_path / "forecast/ensemble.zarr", layout, {})
    truth, rng = _truth(spec.grid.grid), np.random.default_rng(0)
    for lead_index in range(4):
        field = np.stack([truth[name].values[lead_index + 1] for name in ("u10", "v10")])
        for group in range(2):
            noise = rng.normal(size=(len(layout.group_members(group)), *field.shape))
            store.commit(group, lead_index, (field + noise).astype(np.float32))
    return tmp_path / "forecast"


def _truth(grid: Grid) -> xr.Dataset:
    return travelling_waves(grid, [INIT_TIME + np.timedelta64(6 * step, "h") for step in range(6)])


def _verify(store: Path, truth: Path, *more: str) -> Result:
    arguments = ["verify", str(store), "--truth", str(truth), *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def _scores(store: Path, truth: Path, *more: str) -> dict[str, Any]:
    output = truth.parent / "scores.json"
    result = _verify(store, truth, "--json", str(output), *more)
    assert result.exit_code == 0, result.output
    scores: dict[str, Any] = json.loads(output.read_text())
    return scores


def test_scores_equal_those_computed_from_the_arrays(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    truth = _truth(spec.grid.grid)
    truth.to_netcdf(tmp_path / "truth.nc")
    result = _scores(forecast, tmp_path / "truth.nc")
    assert len(result["scores"]["u10"]) == 4
    assert set(result["scores"]) == {"u10", "v10", "wind_speed_10m"}
    assert len(result["energy"]) == len(result["events"]["wind_speed_10m > 10"]) == 4
    ensemble = xr.open_zarr(forecast / "ensemble.zarr").isel(init_time=0)
    for lead_index, row in enumerate(result["scores"]["v10"]):
        assert row["lead_hours"] == 6 * (lead_index + 1)
        crps = crps_fair(ensemble.v10.values[lead_index], truth.v10.values[lead_index + 1])
        expected = (crps.mean(axis=1) * spec.grid.grid.area_weights).mean()
        assert row["crps_fair"] == pytest.approx(float(expected), rel=1e-5)
        assert row["rmse"] == pytest.approx(1 / np.sqrt(MEMBERS), rel=0.15)


def test_only_times_in_both_forecast_and_truth_are_scored(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    _truth(spec.grid.grid).isel(time=[0, 2, 5]).to_netcdf(tmp_path / "truth.nc")
    rows = _scores(forecast, tmp_path / "truth.nc")["scores"]["u10"]
    assert [row["lead_hours"] for row in rows] == [12]


def test_references_are_scored_if_they_are_known(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    truth, grid = _truth(spec.grid.grid), spec.grid.grid
    truth.isel(time=slice(1, None)).to_netcdf(tmp_path / "later.nc")
    assert "persistence_mae" not in _scores(forecast, tmp_path / "later.nc")["scores"]["u10"][0]
    truth.to_netcdf(tmp_path / "truth.nc")
    states = np.stack([truth[name].values for name in ("u10", "v10")], axis=1)
    times = truth.time.values.astype("datetime64[s]")
    Climatology(("u10", "v10"), grid, times, states).to_dataset().to_netcdf(tmp_path / "climatology.nc")
    row = _scores(forecast, tmp_path / "truth.nc", "--climatology", str(tmp_path / "climatology.nc"))["scores"]["u10"][
        1
    ]
    error = abs(truth.u10[0] - truth.u10[2]).mean("longitude").values
    assert row["persistence_mae"] == pytest.approx(float((error * grid.area_weights).mean()), rel=1e-5)
    assert 0 < row["climatology_crps"] < row["persistence_mae"]
    assert row["climatology_deviation"] > 0


def test_a_climatology_on_another_grid_is_refused(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    _truth(spec.grid.grid).to_netcdf(tmp_path / "truth.nc")
    other = Grid.from_coordinates(np.linspace(-80, 80, 9), np.arange(12) * 30.0)
    times = np.arange("2000-01-01", "2000-01-03", dtype="datetime64[D]").astype("datetime64[s]")
    states = np.zeros((2, 2, *other.shape), np.float32)
    Climatology(("u10", "v10"), other, times, states).to_dataset().to_netcdf(tmp_path / "climatology.nc")
    result = _verify(forecast, tmp_path / "truth.nc", "--climatology", str(tmp_path / "climatology.nc"))
    assert result.exit_code == 2
    assert "must be on that of the forecast" in result.stderr


def test_the_report_shows_the_forecast_with_its_truth(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    _truth(spec.grid.grid).isel(time=[0, 1, 2, 4]).to_netcdf(tmp_path / "truth.nc")
    result = _verify(forecast, tmp_path / "truth.nc", "--html", str(tmp_path / "new/report.html"))
    assert result.exit_code == 0, result.output
    page = (tmp_path / "new/report.html").read_text()
    assert page.count("data:image/png;base64,") == 6
    assert "Forecast from 2018-09-15T00:00:00 UTC" in page
    assert "spread in m s⁻¹." in page


def test_a_truth_of_the_initial_time_alone_is_refused(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    _truth(spec.grid.grid).isel(time=[0]).to_netcdf(tmp_path / "truth.nc")
    result = _verify(forecast, tmp_path / "truth.nc")
    assert result.exit_code == 2
    assert "must have a time after" in result.stderr


def test_a_truth_with_a_missing_value_is_refused(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    truth = _truth(spec.grid.grid)
    truth["v10"][2, 3, 4] = np.nan
    truth.to_netcdf(tmp_path / "truth.nc")
    result = _verify(forecast, tmp_path / "truth.nc", "--json", str(tmp_path / "scores.json"))
    assert result.exit_code == 2
    assert "Not finite at 2018-09-15T12:00:00: 1 of 512 values of `v10`." in result.stderr
    assert not (tmp_path / "scores.json").exists()


def test_the_error_for_a_lost_member_names_it(spec: ModelSpec, tmp_path: Path) -> None:
    layout = Layout(INIT_TIME, 2, np.timedelta64(6, "h"), (0, 1, 2), 3, ("u10", "v10"), spec.grid.grid)
    store = EnsembleStore.create(tmp_path / "ensemble.zarr", layout, {})
    fields = np.ones((3, 2, *spec.grid.grid.shape), np.float32)
    store.commit(0, 0, fields)
    fields[1, 1] = np.nan
    store.commit(0, 1, fields)
    _truth(spec.grid.grid).to_netcdf(tmp_path / "truth.nc")
    result = _verify(tmp_path, tmp_path / "truth.nc")
    assert result.exit_code == 2
    assert "`v10` of member 1 (the first is 0) is not, at 2018-09-15T12:00:00" in result.stderr


def test_the_table_is_printed(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    _truth(spec.grid.grid).to_netcdf(tmp_path / "truth.nc")
    output = _verify(forecast, tmp_path / "truth.nc").output
    assert "CRPS" in output
    assert "24 h" in output
    assert "persistence" in output
    assert "climatology" not in output


def test_a_truth_that_does_not_fit_is_refused(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    waves = _truth(spec.grid.grid)
    waves.assign_coords(time=waves.time + np.timedelta64(365, "D")).to_netcdf(tmp_path / "later.nc")
    waves[["u10"]].to_netcdf(tmp_path / "half.nc")
    for name, named in (("later.nc", "must have a time of the forecast"), ("half.nc", "Missing: 10 metre v wind")):
        result = _verify(forecast, tmp_path / name)
        assert result.exit_code == 2
        assert named in result.stderr


def test_a_store_without_a_complete_lead_time_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    layout = Layout(INIT_TIME, 4, np.timedelta64(6, "h"), (0, 1), 2, ("u10", "v10"), spec.grid.grid)
    EnsembleStore.create(tmp_path / "ensemble.zarr", layout, {})
    _truth(spec.grid.grid).to_netcdf(tmp_path / "truth.nc")
    result = _verify(tmp_path, tmp_path / "truth.nc")
    assert result.exit_code == 2
    assert "no complete lead time yet" in result.stderr
