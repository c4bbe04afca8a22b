from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from warmcast import datasets

pytestmark = pytest.mark.filterwarnings("ignore:.*Consolidated.*")


@pytest.mark.parametrize("has_dask", [True, False])
def test_a_dataset_reads_chunks_that_are_written_after_it_was_opened(
    has_dask: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ModuleSpec("dask", None) if has_dask else None
    monkeypatch.setattr(datasets, "find_spec", lambda _: found)
    store = str(tmp_path / "e.zarr")
    empty = xr.Dataset({"u10": ("lead_time", np.full(3, np.nan, dtype="f4"))}, {"lead_time": [6, 12, 18]})
    empty.to_zarr(store, zarr_format=3, consolidated=True, encoding={"u10": {"chunks": (1,)}})
    dataset = datasets.open_store(store, {})
    assert (dataset.u10.chunks is not None) is has_dask
    first = dataset.u10.sel(lead_time=6)
    assert np.isnan(dataset.u10.values).all()
    assert np.isnan(first)
    values = zarr.open_group(store)["u10"]
    assert isinstance(values, zarr.Array)
    for index in range(3):
        values[index] = index + 1.0
        assert np.isfinite(dataset.u10.values).sum() == index + 1
        assert float(first) == 1.0
    np.testing.assert_array_equal(dataset.u10, [1, 2, 3])
