from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.cf import find_cf_errors
from tests.exported import ATTRIBUTES
from weather.grids import Grid
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout


@pytest.fixture
def exported(tmp_path: Path) -> xr.Dataset:
    """A store of all variables, read by xarray, with the first of two lead times written."""
    layout = Layout(
        init_time=np.datetime64("2018-09-15T00", "s"),
        num_lead_times=2,
        time_step=np.timedelta64(6, "h"),
        members=(0, 1, 2),
        group_size=2,
        variables=("u10", "v10", "t2m", "msl"),
        grid=Grid((67.5, 22.5, -22.5, -67.5), (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)),
    )
    store = EnsembleStore.create(tmp_path / "ensemble.zarr", layout, ATTRIBUTES)
    for group in range(2):
        store.commit(group, 0, np.full((len(layout.group_members(group)), 4, 4, 6), 5.0, np.float32))
    return xr.open_zarr(store.path).load()


def _errors(dataset: xr.Dataset, folder: Path) -> list[str]:
    """Return the errors, without recommendations, that the checker finds in the dataset's NetCDF export."""
    path = folder / "ensemble.nc"
    dataset.to_netcdf(path, encoding={name: {"_FillValue": None} for name in dataset.coords})
    return find_cf_errors(path)


def test_an_exported_store_has_no_cf_error(exported: xr.Dataset, tmp_path: Path) -> None:
    assert _errors(exported, tmp_path) == []


def test_the_checker_finds_violations_of_cf(exported: xr.Dataset, tmp_path: Path) -> None:
    exported.u10.attrs["standard_name"] = "eastwards"
    exported.t2m.attrs["units"] = "m"
    errors = " ".join(_errors(exported, tmp_path))
    assert "standard_name eastwards is not defined" in errors
    assert 'Units "m" for variable t2m must be convertible to canonical units "K"' in errors
