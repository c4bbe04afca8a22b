from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from training.config import TrainingConfig
from training.dataset import WeatherSeries, load_series
from weather.errors import TrainingDataError


def _load(files: list[Path], config: TrainingConfig) -> WeatherSeries:
    return load_series(files, config.variables, config.time_step_hours, config.static_fields, config.features)


def test_frames_are_north_to_south_and_in_order_of_time(two_years: list[Path], config: TrainingConfig) -> None:
    series = _load(two_years[::-1], config)
    assert series.frames.shape == (80, 2, 16, 32)
    assert np.all(np.diff(series.valid_times) == np.timedelta64(6, "h"))
    assert series.grid.latitude[0] > series.grid.latitude[-1]
    with xr.open_dataset(two_years[1]) as second:
        at = second.v10.sel(time="2001-01-03T06").sortby("latitude", ascending=False)
        index = int(np.nonzero(series.valid_times == np.datetime64("2001-01-03T06"))[0][0])
        np.testing.assert_array_equal(series.frames[index, 1], at.values)


def test_no_frame_is_in_both_training_and_validation(two_years: list[Path], config: TrainingConfig) -> None:
    series = _load(two_years, config)
    train, validation = (series.middle_indices(years) for years in ((2000,), (2001,)))
    used = [{int(i) + shift for i in part for shift in (-1, 0, 1)} for part in (train, validation)]
    assert used[0].isdisjoint(used[1])
    assert (len(train), len(validation)) == (38, 38)


def test_there_is_no_triple_across_a_gap_in_time(two_years: list[Path], config: TrainingConfig, tmp_path: Path) -> None:
    with xr.open_dataset(two_years[0]) as year:
        year.drop_isel(time=[10]).to_netcdf(tmp_path / "gap.nc")
    assert len(_load([tmp_path / "gap.nc"], config).middle_indices((2000,))) == 38 - 3


def test_a_batch_holds_three_consecutive_frames(two_years: list[Path], config: TrainingConfig) -> None:
    series = _load(two_years, config)
    batch = series.batch(np.array([5, 9]))
    for tensor, shift in ((batch.previous, -1), (batch.newest, 0), (batch.target, 1)):
        np.testing.assert_array_equal(tensor.numpy(), series.frames[[5 + shift, 9 + shift]])


def test_vector_components_are_scaled_about_zero_by_training_years_only(
    two_years: list[Path], config: TrainingConfig
) -> None:
    series = _load(two_years, config)
    statistics = series.normalisation(("u10", "v10"), (2000,))
    rows = np.asarray(series.grid.area_weights)[:, None]
    expected = np.sqrt((series.frames[:40, 0].astype(np.float64) ** 2 * rows).mean())
    assert statistics[0].mean == 0
    assert statistics[0].std == pytest.approx(expected)


def test_static_fields_are_standardised_and_north_to_south(two_years: list[Path], config: TrainingConfig) -> None:
    static = _load(two_years, config).static
    with xr.open_dataset(two_years[0]) as year:
        north_first = year.orography.values[::-1]
    np.testing.assert_allclose(static[0], (north_first - north_first.mean()) / north_first.std(), atol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda year: year.drop_vars("v10"), "Missing: 10 metre v wind component"),
        (lambda year: year.drop_vars("orography"), "no static field `orography`"),
        (lambda year: year.assign(u10=year.u10.where(year.time != year.time[3])), "`u10` is not finite at 2000-12-22T"),
        (lambda year: year.isel(longitude=slice(0, 12)), "must be global|evenly spaced"),
    ],
)
def test_data_that_cannot_train_is_named(
    spoil: Callable[[xr.Dataset], xr.Dataset], named: str, two_years: list[Path], config: TrainingConfig, tmp_path: Path
) -> None:
    with xr.open_dataset(two_years[0]) as year:
        year.load()
    year["u10"].attrs = year["v10"].attrs = {"units": "m s-1"}
    spoiled = spoil(year)
    for name in set(spoiled.data_vars) & {"u10", "v10"}:
        spoiled[name].attrs = {"units": "m s-1"}
    spoiled.to_netcdf(tmp_path / "bad.nc")
    with pytest.raises(TrainingDataError, match=named):
        _load([tmp_path / "bad.nc"], config)


def test_files_on_different_grids_are_refused(two_years: list[Path], config: TrainingConfig, tmp_path: Path) -> None:
    with xr.open_dataset(two_years[1]) as year:
        year.isel(longitude=slice(0, 32, 2)).to_netcdf(tmp_path / "coarse.nc")
    with pytest.raises(TrainingDataError, match=r"coarse\.nc` is on the grid 16 × 16 .* expected"):
        _load([two_years[0], tmp_path / "coarse.nc"], config)
