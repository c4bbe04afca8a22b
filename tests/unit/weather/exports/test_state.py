"""The store of an initial state, of an ensemble of analyses."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from storage.paths import storage_path
from weather.errors import StoreError
from weather.exports.state import initial_state_files
from weather.exports.stored import StoredFields
from weather.initial_state import InitialState


@pytest.mark.parametrize("store", ["ensemble.zarr", "summary.zarr"])
def test_analyses_have_a_dimension_whatever_store_describes_the_grid(folder: Path, store: str) -> None:
    stored, draw = StoredFields.open(storage_path(folder / store)), np.random.default_rng(1)
    grid = xr.open_zarr(folder / "ensemble.zarr")
    shape = (3, 4, grid.sizes["latitude"], grid.sizes["longitude"])
    frames = tuple(draw.standard_normal(shape, np.float32) for _ in range(2))
    files = initial_state_files(InitialState(stored.init_time, frames, ("a.nc",)), stored)
    memory = {key: zarr.core.buffer.cpu.Buffer.from_bytes(content) for key, content in files.items()}
    dataset = xr.open_zarr(zarr.storage.MemoryStore(memory))
    assert dataset.u10.dims == ("time", "number", "latitude", "longitude")
    for channel, name in enumerate(("u10", "v10", "t2m", "msl")):
        np.testing.assert_array_equal(dataset[name].values, np.stack([frames[1][:, channel], frames[0][:, channel]]))
    for name in ("latitude", "longitude"):
        np.testing.assert_allclose(dataset[name].values, grid[name].values)
    assert str(dataset.time.values[0]) == "2018-09-15T06:30:00.000000000"


def test_a_store_of_an_earlier_version_does_not_name_its_variables(folder: Path) -> None:
    stored = StoredFields.open(storage_path(folder / "summary.zarr"))
    earlier = {name: value for name, value in stored.attributes.items() if name != "variables"}
    with pytest.raises(StoreError, match="made by an earlier version"):
        _ = StoredFields(stored.path, earlier, {}).variables
