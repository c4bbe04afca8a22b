"""The view of the first lead times of a store, opened by xarray."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from tests.unit.weather.stores.test_ensemble import LAYOUT
from weather.stores.ensemble import EnsembleStore
from weather.stores.frozen import FrozenView


@pytest.fixture
def store(tmp_path: Path) -> EnsembleStore:
    store, draw = EnsembleStore.create(tmp_path / "ensemble.zarr", LAYOUT, {"seed": 1}), np.random.default_rng(0)
    for lead_index in range(LAYOUT.num_lead_times):
        for group in range(LAYOUT.num_groups):
            members = len(LAYOUT.group_members(group))
            fields = draw.normal(size=(members, len(LAYOUT.variables), *LAYOUT.grid.shape)).astype(np.float32)
            store.commit(group, lead_index, fields)
    return store


def _chunks(store: EnsembleStore) -> dict[str, bytes]:
    path = Path(str(store.path))
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("number", range(1, LAYOUT.num_lead_times + 1))
def test_a_view_is_the_store_up_to_a_lead_time_with_no_tail(store: EnsembleStore, number: int) -> None:
    view, files = FrozenView.of(store.path, number), _chunks(store)
    files = {key: content for key, content in files.items() if view.has_chunk(key)} | view.files
    memory = zarr.storage.MemoryStore({key: zarr.core.buffer.cpu.Buffer.from_bytes(c) for key, c in files.items()})
    frozen = xr.open_zarr(memory).load()
    xr.testing.assert_identical(frozen, xr.open_zarr(str(store.path)).load().isel(lead_time=slice(number)))
    assert frozen.sizes["lead_time"] == number
    assert (frozen.complete == 1).all()


def test_the_view_of_all_lead_times_is_the_store_itself(store: EnsembleStore) -> None:
    view, files = FrozenView.of(store.path, LAYOUT.num_lead_times), _chunks(store)
    assert {key: content for key, content in files.items() if view.has_chunk(key)} | view.files == files


def test_no_other_file_belongs_to_a_view(store: EnsembleStore) -> None:
    view = FrozenView.of(store.path, 1)
    for key in (
        "u10/c.0.1.0.0.0",
        "complete/c.1.0",
        "u10/c.0",
        "u10/zarr.json",
        "other/c.0.0.0.0.0",
        "u10/c.",
        "",
        "c.0",
    ):
        assert not view.has_chunk(key), key
