import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from diagnostics.crps import crps_fair
from warmcast.cli import app
from weather.grids import Grid
from weather.manifest import ModelSpec
from weather.store import EnsembleStore
from weather.store_template import Layout
from weather.testing import travelling_waves

INIT_TIME = np.datetime64("2018-09-15T00", "s")
MEMBERS = 5


@pytest.fixture
def forecast(spec: ModelSpec, tmp_path: Path) -> Path:
    """Truth plus noise of unit variance, four lead times, two groups."""
    layout = Layout(INIT_TIME, 4, np.timedelta64(6, "h"), tuple(range(MEMBERS)), 3, ("u10", "v10"), spec.grid.grid)
    store = EnsembleStore.create(tmp_path / "forecast/ensemble.zarr", layout, {})
    truth, draw = _truth(spec.grid.grid), np.random.default_rng(0)
    for lead_index in range(4):
        field = np.stack([truth[name].values[lead_index + 1] for name in ("u10", "v10")])
        for group in range(2):
            noise = draw.normal(size=(len(layout.group_members(group)), *field.shape))
            store.commit(group, lead_index, (field + noise).astype(np.float32))
    return tmp_path / "forecast"


def _truth(grid: Grid) -> xr.Dataset:
    return travelling_waves(grid, [INIT_TIME + np.timedelta64(6 * step, "h") for step in range(6)])


def _verify(store: Path, truth: Path, *more: str) -> Result:
    arguments = ["verify", str(store), "--truth", str(truth), *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_scores_equal_those_of_the_arrays(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    truth = _truth(spec.grid.grid)
    truth.to_netcdf(tmp_path / "truth.nc")
    result = json.loads(_verify(forecast, tmp_path / "truth.nc", "--json").stdout)
    assert result["lead_times"] == 4
    ensemble = xr.open_zarr(forecast / "ensemble.zarr").isel(init_time=0)
    for lead_index, row in enumerate(result["scores"]["v10"]):
        assert row["lead_hours"] == 6 * (lead_index + 1)
        crps = crps_fair(ensemble.v10.values[lead_index], truth.v10.values[lead_index + 1])
        expected = (crps.mean(axis=1) * spec.grid.grid.area_weights).mean()
        assert row["crps_fair"] == pytest.approx(float(expected), rel=1e-5)
        assert row["rmse"] == pytest.approx(1 / np.sqrt(MEMBERS), rel=0.15)


def test_only_times_that_both_have_are_scored(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    _truth(spec.grid.grid).isel(time=[0, 2, 5]).to_netcdf(tmp_path / "truth.nc")
    rows = json.loads(_verify(forecast, tmp_path / "truth.nc", "--json").stdout)["scores"]["u10"]
    assert [row["lead_hours"] for row in rows] == [12]


def test_the_table_is_printed(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    _truth(spec.grid.grid).to_netcdf(tmp_path / "truth.nc")
    output = _verify(forecast, tmp_path / "truth.nc").output
    assert "CRPS" in output
    assert "24 h" in output
    assert "persistence" not in output


def test_a_truth_that_does_not_fit_is_one_error(forecast: Path, spec: ModelSpec, tmp_path: Path) -> None:
    waves = _truth(spec.grid.grid)
    waves.assign_coords(time=waves.time + np.timedelta64(365, "D")).to_netcdf(tmp_path / "later.nc")
    waves[["u10"]].to_netcdf(tmp_path / "half.nc")
    for name, named in (("later.nc", "must have a time of the forecast"), ("half.nc", "Missing: 10 metre v wind")):
        result = _verify(forecast, tmp_path / name)
        assert result.exit_code == 2
        assert named in result.stderr


def test_a_store_without_a_complete_lead_time_is_told(spec: ModelSpec, tmp_path: Path) -> None:
    layout = Layout(INIT_TIME, 4, np.timedelta64(6, "h"), (0, 1), 2, ("u10", "v10"), spec.grid.grid)
    EnsembleStore.create(tmp_path / "ensemble.zarr", layout, {})
    _truth(spec.grid.grid).to_netcdf(tmp_path / "truth.nc")
    result = _verify(tmp_path, tmp_path / "truth.nc")
    assert result.exit_code == 2
    assert "no complete lead time yet" in result.stderr
