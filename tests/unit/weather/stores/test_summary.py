import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from weather.errors import StoreError
from weather.grids import Grid
from weather.stores.layout import Layout
from weather.stores.summary import SummaryStore
from weather.stores.summary_layout import SummaryLayout
from weather.stores.summary_request import Summary, Threshold

ENSEMBLE = Layout(
    init_time=np.datetime64("2018-09-15T00", "s"),
    num_lead_times=3,
    time_step=np.timedelta64(6, "h"),
    members=(0, 1, 2),
    group_size=2,
    variables=("u10", "v10"),
    grid=Grid((67.5, 22.5, -22.5, -67.5), (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)),
)
WIND = ("u10", "v10", "wind_speed_10m")
GALE, CALM = Threshold(variable="wind_speed_10m", value=17.2), Threshold(variable="wind_speed_10m", op="<", value=1.0)
LAYOUT = SummaryLayout(ENSEMBLE, Summary(quantiles=(0.1, 0.5), exceedance=(GALE, CALM)))


@pytest.fixture
def store(tmp_path: Path) -> SummaryStore:
    return SummaryStore.create(tmp_path / "summary.zarr", LAYOUT, {"Conventions": "CF-1.11", "title": "numbers"})


def _statistics(seed: int) -> dict[str, NDArray[np.float32]]:
    draw = np.random.default_rng(seed)
    shape = ENSEMBLE.grid.shape
    return {
        name: draw.standard_normal((*(size for _, size in dims), *shape), np.float32)
        for name, dims, _ in LAYOUT.statistics()
    }


def _snapshot(path: Path) -> dict[Path, bytes]:
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_new_summary_opens_with_xarray_and_describes_its_statistics(store: SummaryStore) -> None:
    with xr.open_zarr(store.path) as summary:
        statistics = {f"{name}_{kind}" for name in WIND for kind in ("mean", "spread", "quantiles")}
        probabilities = {"wind_speed_10m_above", "wind_speed_10m_below"}
        others = {"wind_direction_10m", "members", "complete"}
        assert set(summary.data_vars) == statistics | probabilities | others
        assert summary.u10_quantiles.dims == ("init_time", "lead_time", "quantile", "latitude", "longitude")
        assert summary.u10_mean.isnull().all()
        assert not summary.complete.any()
        assert summary["quantile"].values.tolist() == [0.1, 0.5]
        assert summary.wind_speed_10m_above_threshold.values.tolist() == [17.2]
        np.testing.assert_array_equal(summary.lead_time, np.array([6, 12, 18], "timedelta64[h]"))
        assert summary.u10_mean.attrs["cell_methods"] == "realization: mean"
        assert summary.attrs["spatial:bbox"] == [-180, -67.5, 120, 67.5]
        assert summary.wind_speed_10m_mean.attrs["standard_name"] == "wind_speed"
        assert summary.attrs["title"] == "Summary of a numbers"


def test_longitudes_run_from_the_date_line_to_the_date_line(store: SummaryStore) -> None:
    statistics = _statistics(0)
    store.write(0, 3, statistics)
    with xr.open_zarr(store.path) as summary:
        assert summary.longitude.values.tolist() == [-180.0, -120.0, -60.0, 0.0, 60.0, 120.0]
        for column, longitude in enumerate(ENSEMBLE.grid.longitude):
            column_values = summary.u10_quantiles[0, 0].sel(longitude=(longitude + 180) % 360 - 180)
            np.testing.assert_array_equal(column_values, statistics["u10_quantiles"][..., column])


def test_a_lead_time_is_complete_once_all_its_fields_are_written(store: SummaryStore) -> None:
    store.write(1, 2, _statistics(1))
    assert [store.is_complete(index) for index in range(3)] == [False, True, False]
    with xr.open_zarr(store.path) as summary:
        assert summary.complete.values.tolist() == [0, 1, 0]
        assert summary.members.values.tolist() == [0, 2, 0]
        assert summary.u10_mean.isel(lead_time=1).notnull().all()
        assert summary.u10_mean.isel(lead_time=2).isnull().all()


def test_a_lead_time_is_one_chunk_of_each_field_and_zeros_are_written_too(store: SummaryStore) -> None:
    store.write(0, 0, {name: np.zeros_like(values) for name, values in _statistics(0).items()})
    for name, dims, _ in LAYOUT.statistics():
        (chunk,) = (store.path / name).glob("c*")
        assert chunk == store.path / name / ".".join(["c", "0", "0", *["0"] * (len(dims) + 2)])
    assert (store.path / "members/c.0").exists()


def test_existing_chunks_and_metadata_are_never_replaced(store: SummaryStore) -> None:
    store.write(0, 3, _statistics(0))
    before = _snapshot(store.path)
    SummaryStore(store.path, LAYOUT).write(0, 3, _statistics(0))
    assert _snapshot(store.path) == before
    store.write(0, 3, _statistics(5))
    assert _snapshot(store.path) == before


def test_an_interrupted_write_is_completed(store: SummaryStore, tmp_path: Path) -> None:
    whole = tmp_path / "whole.zarr"
    shutil.copytree(store.path, whole)
    SummaryStore(whole, LAYOUT).write(0, 3, _statistics(0))
    store.write(0, 3, _statistics(0))
    (store.path / "complete/c.0").unlink()
    (store.path / "v10_mean/c.0.0.0.0").unlink()
    (store.path / "v10_mean/c.0.0.0.0.x.partial").write_bytes(b"torn")
    store.path.remove_partial_files()
    assert not store.is_complete(0)
    store.write(0, 3, _statistics(0))
    assert _snapshot(store.path) == _snapshot(whole)


def test_damage_is_detected(store: SummaryStore) -> None:
    store.write(0, 3, _statistics(0))
    chunk = store.path / "u10_mean/c.0.0.0.0"
    flipped = bytearray(chunk.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    chunk.write_bytes(bytes(flipped))
    with xr.open_zarr(store.path) as summary, pytest.raises(Exception, match=r"(?i)checksum"):
        summary.u10_mean.load()


def test_a_store_that_is_not_a_summary_of_this_ensemble_is_refused(store: SummaryStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="already exists"):
        SummaryStore.create(store.path, LAYOUT, {})
    with pytest.raises(StoreError, match="is not a summary of this ensemble"):
        SummaryStore(tmp_path, LAYOUT)
    other = SummaryLayout(ENSEMBLE, Summary(quantiles=(0.1, 0.5, 0.9), exceedance=(GALE, CALM)))
    with pytest.raises(StoreError, match="differs in u10_quantiles, v10_quantiles, wind_speed_10m_quantiles"):
        SummaryStore(store.path, other)
    more = SummaryLayout(ENSEMBLE, Summary(exceedance=(Threshold(variable="u10", value=1.0),)))
    with pytest.raises(StoreError, match="is not a summary of this ensemble"):
        SummaryStore(store.path, more)
