from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from training.config import TrainingConfig
from training.data.loading import load_training_data
from training.data.testing import MemoryFrames
from training.data.training_data import TrainingData
from weather.errors import TrainingDataError
from weather.grids import Grid


def _load(files: list[Path], config: TrainingConfig) -> TrainingData:
    return load_training_data(files, config.variables, static_fields=config.static_fields)


def _read(data: TrainingData) -> NDArray[np.float32]:
    return data.frames(np.arange(len(data.valid_times)))


def test_frames_are_north_to_south_and_in_order_of_time(two_years: list[Path], config: TrainingConfig) -> None:
    data = _load(two_years[::-1], config)
    assert _read(data).shape == (80, 2, 16, 32)
    assert np.all(np.diff(data.valid_times) == np.timedelta64(6, "h"))
    assert data.grid.latitude[0] > data.grid.latitude[-1]
    with xr.open_dataset(two_years[1]) as second:
        at = second.v10.sel(time="2001-01-03T06").sortby("latitude", ascending=False)
        index = int(np.nonzero(data.valid_times == np.datetime64("2001-01-03T06"))[0][0])
        np.testing.assert_array_equal(_read(data)[index, 1], at.values)


def test_no_frame_is_in_both_training_and_validation(two_years: list[Path], config: TrainingConfig) -> None:
    data = _load(two_years, config)
    train, validation = (data.sample_indices(years) for years in ((2000,), (2001,)))
    used = [{int(i) + shift for i in part for shift in (-1, 0, 1)} for part in (train, validation)]
    assert used[0].isdisjoint(used[1])
    assert (len(train), len(validation)) == (38, 38)


def test_there_is_no_triple_across_a_gap_in_time(two_years: list[Path], config: TrainingConfig, tmp_path: Path) -> None:
    with xr.open_dataset(two_years[0]) as year:
        year.drop_isel(time=[10]).to_netcdf(tmp_path / "gap.nc")
    assert len(_load([tmp_path / "gap.nc"], config).sample_indices((2000,))) == 38 - 3


def test_vector_components_are_scaled_about_zero_by_training_years_only(
    two_years: list[Path], config: TrainingConfig
) -> None:
    data = _load(two_years, config)
    statistics, _ = data.statistics((2000,))
    rows = np.asarray(data.grid.area_weights)[:, None]
    expected = np.sqrt((_read(data)[:40, 0].astype(np.float64) ** 2 * rows).mean())
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
        (
            lambda year: year.assign(u10=year.u10.where(year.time != year.time[3])),
            r"`u10` of `.*bad\.nc` is not finite",
        ),
        (lambda year: year.isel(longitude=slice(0, 12)), "must be global|evenly spaced"),
    ],
)
def test_data_that_cannot_be_used_for_training_is_named(
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
        _read(_load([tmp_path / "bad.nc"], config))


def test_files_on_different_grids_are_refused(two_years: list[Path], config: TrainingConfig, tmp_path: Path) -> None:
    with xr.open_dataset(two_years[1]) as year:
        year.isel(longitude=slice(0, 32, 2)).to_netcdf(tmp_path / "coarse.nc")
    with pytest.raises(TrainingDataError, match=r"on one grid\. Got: 16 × 32 .* and 16 × 16 .*coarse\.nc"):
        _load([two_years[0], tmp_path / "coarse.nc"], config)


def test_a_zarr_store_gives_the_same_data_as_a_file(
    two_years: list[Path], config: TrainingConfig, tmp_path: Path
) -> None:
    with xr.open_dataset(two_years[0]) as year:
        year.load().to_zarr(tmp_path / "2000.zarr", zarr_format=2, consolidated=True)
    data, expected = _load([tmp_path / "2000.zarr"], config), _load(two_years[:1], config)
    np.testing.assert_array_equal(_read(data), _read(expected))
    np.testing.assert_array_equal(data.static, expected.static)
    assert data.grid == expected.grid


def test_a_frame_that_is_in_two_files_is_taken_once(two_years: list[Path], config: TrainingConfig) -> None:
    once, twice = _load(two_years, config), _load([two_years[0], *two_years], config)
    np.testing.assert_array_equal(_read(twice), _read(once))
    np.testing.assert_array_equal(twice.valid_times, once.valid_times)


def _write(dataset: xr.Dataset, path: Path) -> Path:
    for name in {"u10", "v10"} & set(dataset.data_vars):
        dataset[name].attrs = {"units": "m s-1"}
    dataset.to_netcdf(path)
    return path


@pytest.fixture
def year(two_years: list[Path]) -> xr.Dataset:
    with xr.open_dataset(two_years[0]) as dataset:
        return dataset.load()


@pytest.mark.parametrize(
    "rearrange",
    [
        lambda year: year.rename(latitude="lat", longitude="lon"),
        lambda year: year.roll(longitude=16, roll_coords=True).assign_coords(longitude=np.arange(-16, 16) * 11.25),
        lambda year: year.assign_coords(longitude=np.arange(32) * 11.25 - np.array([1e-13] + [0.0] * 31)),
        lambda year: year.transpose("longitude", "latitude", "time"),
        lambda year: year.assign(orography=year.orography.expand_dims(level=1)),
        lambda year: year.sortby("time", ascending=False),
    ],
)
def test_names_and_order_of_axes_and_the_origin_of_longitude_do_not_matter(
    rearrange: Callable[[xr.Dataset], xr.Dataset],
    year: xr.Dataset,
    two_years: list[Path],
    config: TrainingConfig,
    tmp_path: Path,
) -> None:
    changed = _write(rearrange(year), tmp_path / "changed.nc")
    data, expected = _load([changed], config), _load(two_years[:1], config)
    np.testing.assert_array_equal(_read(data), _read(expected))
    np.testing.assert_allclose(data.static, expected.static, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "named"),
    [
        (lambda year: year.u10, r"have the dimensions latitude and longitude\. Got: .*'time': 40"),
        (lambda year: year.orography * 0 + 7, "be finite, and not the same everywhere"),
        (lambda year: year.orography.where(year.latitude < 80), "be finite, and not the same everywhere"),
        (lambda year: year.orography.isel(latitude=0), r"Got: {'longitude': 32}"),
    ],
)
def test_a_static_field_that_no_network_can_use_is_refused(
    field: Callable[[xr.Dataset], xr.DataArray], named: str, year: xr.Dataset, config: TrainingConfig, tmp_path: Path
) -> None:
    changed = year.assign(orography=field(year))
    with pytest.raises(TrainingDataError, match=rf"The static field `orography` of `.*bad\.nc` .*{named}"):
        _load([_write(changed, tmp_path / "bad.nc")], config)


def test_an_ensemble_is_refused(year: xr.Dataset, config: TrainingConfig, tmp_path: Path) -> None:
    members = xr.concat([year, year, year], "number")
    members["orography"] = year.orography
    with pytest.raises(TrainingDataError, match=r"must hold analyses\. Got: 3 members of each"):
        _load([_write(members, tmp_path / "ensemble.nc")], config)


def test_an_empty_list_of_files_is_refused(config: TrainingConfig) -> None:
    with pytest.raises(TrainingDataError, match=r"expected GRIB or NetCDF files, or Zarr stores\. Got: none"):
        _load([], config)


def test_a_file_of_another_kind_is_refused(config: TrainingConfig, tmp_path: Path) -> None:
    (tmp_path / "frames.nc").write_bytes(b"GRIB")
    with pytest.raises(TrainingDataError, match=r"frames\.nc` cannot be read as GRIB"):
        _load([tmp_path / "frames.nc"], config)


def _temperatures(values: NDArray[np.float64]) -> TrainingData:
    """Return frames of one a day from 2000-12-30, each with one temperature per latitude."""
    grid = Grid.from_coordinates(np.array([-67.5, -22.5, 22.5, 67.5]), np.arange(8) * 45.0)
    times = np.datetime64("2000-12-30T00", "s") + np.arange(len(values)) * np.timedelta64(24, "h")
    frames = np.repeat(values[:, None, :, None], 8, axis=3).astype(np.float32)
    return TrainingData(MemoryFrames(grid, ("t2m",), times, frames), np.timedelta64(24, "h"))


def test_a_scalar_is_scaled_about_its_area_weighted_mean() -> None:
    values = np.array([[250.0, 290.0, 300.0, 260.0], [240.0, 295.0, 305.0, 250.0], [1e9] * 4])
    data = _temperatures(values)
    weights = np.asarray(data.grid.area_weights) / 4
    mean = (values[:2] * weights).sum(axis=1).mean()
    variance = ((values[:2] - mean) ** 2 * weights).sum(axis=1).mean()
    ((statistics,), _) = data.statistics((2000,))
    assert (statistics.name, statistics.mean) == ("t2m", pytest.approx(mean))
    assert statistics.std == pytest.approx(variance**0.5)


def test_a_variable_that_is_the_same_everywhere_is_refused() -> None:
    with pytest.raises(TrainingDataError, match=r"`t2m` must vary over 2000"):
        _temperatures(np.full((3, 4), 280.0)).statistics([2000])


def test_frames_are_in_order_of_time_and_only_those_of_the_years(two_years: list[Path]) -> None:
    data = load_training_data(two_years[::-1], ("u10", "v10"), years=(2001,), static_fields=("orography",))
    assert data.static.shape == (1, 16, 32)
    assert len(data.valid_times) == 40
    assert np.all(np.diff(data.valid_times) == np.timedelta64(6, "h"))
    with xr.open_dataset(two_years[1]) as second:
        expected = second.v10.sel(time="2001-01-03T06").sortby("latitude", ascending=False).values
    index = np.nonzero(data.valid_times == np.datetime64("2001-01-03T06"))[0]
    np.testing.assert_array_equal(data.frames(index)[0, 1], expected)
