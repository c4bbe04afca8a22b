import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from numpy.typing import NDArray

from weather.errors import StoreError
from weather.grids import Grid
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout

LAYOUT = Layout(
    init_time=np.datetime64("2018-09-15T00", "s"),
    num_lead_times=3,
    time_step=np.timedelta64(6, "h"),
    members=(0, 1, 2, 5, 7),
    group_size=2,
    variables=("u10", "v10"),
    grid=Grid((67.5, 22.5, -22.5, -67.5), (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)),
)
ATTRIBUTES = {"Conventions": "CF-1.11", "title": "Numbers", "warmcast_seed": 1}


PLACE = {
    "proj:code": "EPSG:4326",
    "spatial:dimensions": ["latitude", "longitude"],
    "spatial:shape": [4, 6],
    "spatial:bbox": [0, -67.5, 300, 67.5],
    "spatial:registration": "node",
    "spatial:transform_type": "affine",
    "spatial:transform": [60, 0, 0, 0, -45, 67.5],
}


@pytest.fixture
def store(tmp_path: Path) -> EnsembleStore:
    return EnsembleStore.create(tmp_path / "output/ensemble.zarr", LAYOUT, ATTRIBUTES)


def _numbers(group: int, lead_index: int) -> NDArray[np.float32]:
    draw = np.random.default_rng([group, lead_index])
    return draw.standard_normal((len(LAYOUT.group_members(group)), 2, *LAYOUT.grid.shape), np.float32)


def _commit(store: EnsembleStore, group: int, lead_index: int) -> NDArray[np.float32]:
    fields = _numbers(group, lead_index)
    store.commit(group, lead_index, fields)
    return fields


def _array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    array = root[name]
    assert isinstance(array, zarr.Array)
    return array


def _snapshot(path: Path) -> dict[Path, bytes]:
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_new_store_opens_with_xarray_without_options(store: EnsembleStore) -> None:
    with xr.open_zarr(store.path) as ensemble:
        assert ensemble.sizes == {"init_time": 1, "lead_time": 3, "number": 5, "latitude": 4, "longitude": 6}
        for name in LAYOUT.variables:
            assert ensemble[name].dims == ("init_time", "lead_time", "number", "latitude", "longitude")
            assert ensemble[name].dtype == np.float32
            assert ensemble[name].isnull().all()
        assert ensemble.complete.dims == ("lead_time", "number")
        assert not ensemble.complete.any()


def test_coordinates_are_decoded_to_times_members_and_degrees(store: EnsembleStore) -> None:
    with xr.open_zarr(store.path) as ensemble:
        leads = np.array([6, 12, 18], "timedelta64[h]")
        np.testing.assert_array_equal(ensemble.init_time, [LAYOUT.init_time])
        np.testing.assert_array_equal(ensemble.lead_time, leads)
        np.testing.assert_array_equal(ensemble.valid_time, (LAYOUT.init_time + leads)[None])
        np.testing.assert_array_equal(ensemble.number, LAYOUT.members)
        np.testing.assert_array_equal(ensemble.latitude, LAYOUT.grid.latitude)
        np.testing.assert_array_equal(ensemble.longitude, LAYOUT.grid.longitude)


def test_attributes_are_those_of_cf_and_the_callers(store: EnsembleStore) -> None:
    with xr.open_zarr(store.path, decode_cf=False) as ensemble:
        assert ensemble.attrs == ATTRIBUTES | PLACE | {"variables": "u10 v10"}
        names = {name: array.attrs.get("standard_name") for name, array in ensemble.variables.items()}
        units = {name: array.attrs["units"] for name, array in ensemble.variables.items()}
    assert {name: (names[name], units[name]) for name in names} == {
        "u10": ("eastward_wind", "m s-1"),
        "v10": ("northward_wind", "m s-1"),
        "complete": (None, "1"),
        "init_time": ("forecast_reference_time", "seconds since 1970-01-01 00:00:00"),
        "lead_time": ("forecast_period", "hours"),
        "valid_time": ("time", "seconds since 1970-01-01 00:00:00"),
        "number": ("realization", "1"),
        "latitude": ("latitude", "degrees_north"),
        "longitude": ("longitude", "degrees_east"),
    }


def test_a_chunk_is_one_variable_and_lead_time_of_one_group(store: EnsembleStore) -> None:
    root = zarr.open_group(store.path, mode="r")
    for name in LAYOUT.variables:
        array = _array(root, name)
        assert array.chunks == (1, 1, 2, 4, 6)
        assert array.shards is None
    assert _array(root, "complete").chunks == (1, 2)


def test_a_commit_makes_only_its_lead_time_and_group_visible(store: EnsembleStore) -> None:
    with xr.open_zarr(store.path) as opened_before:
        fields = _commit(store, 1, 2)
        with xr.open_zarr(store.path) as opened_after:
            for ensemble in (opened_before, opened_after):
                expected = np.full((1, 3, 5, 4, 6), np.nan, np.float32)
                for channel, name in enumerate(LAYOUT.variables):
                    expected[0, 2, 2:4] = fields[:, channel]
                    np.testing.assert_array_equal(ensemble[name].values, expected)
                np.testing.assert_array_equal(ensemble.complete, [[0] * 5, [0] * 5, [0, 0, 1, 1, 0]])


def test_a_commit_writes_no_file_but_its_own(store: EnsembleStore) -> None:
    before = _snapshot(store.path)
    _commit(store, 1, 2)
    after = _snapshot(store.path)
    assert {path: after[path] for path in before} == before
    chunks = {"u10/c.0.2.1.0.0", "v10/c.0.2.1.0.0", "complete/c.2.1"}
    assert {str(path) for path in after.keys() - before.keys()} == chunks


def test_files_equal_those_that_zarr_writes(store: EnsembleStore, tmp_path: Path) -> None:
    other = EnsembleStore.create(tmp_path / "other.zarr", LAYOUT, ATTRIBUTES)
    root = zarr.open_group(other.path, mode="r+")
    for group, members in enumerate((slice(0, 2), slice(2, 4), slice(4, 5))):
        fields = _commit(store, group, 1)
        for channel, name in enumerate(LAYOUT.variables):
            _array(root, name)[0, 1, members] = fields[:, channel]
        _array(root, "complete")[1, members] = 1
    assert _snapshot(store.path) == _snapshot(other.path)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_field_of_one_value_only_is_stored_as_a_file(store: EnsembleStore, value: float) -> None:
    store.commit(0, 1, np.full((2, 2, 4, 6), value, np.float32))
    assert (store.path / "u10/c.0.1.0.0.0").is_file()
    np.testing.assert_array_equal(store.group_fields(0, 1), value)
    assert EnsembleStore.open(store.path).num_complete_of_group(0) == 0
    reopened = EnsembleStore.open(store.path)
    reopened.commit(0, 0, np.full((2, 2, 4, 6), value, np.float32))
    assert (store.path / "v10/c.0.0.0.0.0").is_file()


def test_committed_fields_are_read_back_bit_for_bit(store: EnsembleStore) -> None:
    special = np.array([-0.0, np.inf, -np.inf, 1e-45, np.finfo(np.float32).max], np.float32)
    written = {}
    for group in range(3):
        for lead_index in range(3):
            fields = _numbers(group, lead_index)
            fields[0, 0, 0, :5] = special
            fields[-1, -1, -1, -1] = np.array(0x7FC12345, np.uint32).view(np.float32)
            store.commit(group, lead_index, fields)
            written[group, lead_index] = fields
    reopened = EnsembleStore.open(store.path)
    for (group, lead_index), fields in written.items():
        read = reopened.group_fields(group, lead_index)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read.view(np.uint32), fields.view(np.uint32))


def test_the_last_group_may_be_short(store: EnsembleStore) -> None:
    assert [LAYOUT.group_members(group) for group in range(LAYOUT.num_groups)] == [(0, 1), (2, 5), (7,)]
    fields = _commit(store, 2, 0)
    assert store.group_fields(2, 0).shape == (1, 2, 4, 6)
    assert store.num_complete_of_group(2) == 1
    with xr.open_zarr(store.path) as ensemble:
        np.testing.assert_array_equal(ensemble.u10.sel(number=7)[0, 0], fields[0, 0])
        assert ensemble.u10[0, 0, :4].isnull().all()


def test_complete_lead_times_of_a_group_are_counted_up_to_the_first_gap(store: EnsembleStore) -> None:
    counts = []
    for lead_index in (2, 0, 1):
        _commit(store, 0, lead_index)
        counts.append(store.num_complete_of_group(0))
    assert counts == [0, 1, 3]
    assert store.num_complete_of_group(1) == store.num_complete_of_group(2) == 0
    assert EnsembleStore.open(store.path).num_complete_of_group(0) == 3


def test_a_lead_time_with_one_member_missing_does_not_count(store: EnsembleStore) -> None:
    _commit(store, 0, 0)
    _array(zarr.open_group(store.path, mode="r+"), "complete")[0, 1] = 0
    assert EnsembleStore.open(store.path).num_complete_of_group(0) == 0


def test_an_opened_store_has_the_layout_it_was_created_with(store: EnsembleStore) -> None:
    reopened = EnsembleStore.open(store.path)
    assert reopened.layout == store.layout == LAYOUT
    assert reopened.attributes == ATTRIBUTES | PLACE | {"variables": "u10 v10"}


@pytest.mark.parametrize(
    "change",
    [
        {"num_lead_times": 1},
        {"time_step": np.timedelta64(1, "D")},
        {"members": (49,)},
        {"members": (0,)},
        {"group_size": 8},
        {"variables": ("t2m", "msl", "v10")},
        {"init_time": np.datetime64("1959-12-31T18", "s")},
    ],
)
def test_every_layout_is_read_back(tmp_path: Path, change: dict[str, object]) -> None:
    layout = replace(LAYOUT, **change)
    assert EnsembleStore.create(tmp_path / "a.zarr", layout, {}).layout == layout


def test_a_layout_knows_its_lead_times_groups_and_size() -> None:
    assert [LAYOUT.lead_time(index) for index in range(3)] == [np.timedelta64(hours, "h") for hours in (6, 12, 18)]
    assert LAYOUT.num_groups == 3
    assert replace(LAYOUT, group_size=5).num_groups == 1
    assert LAYOUT.size_bytes == sum(_numbers(group, lead).nbytes for group in range(3) for lead in range(3))


def test_a_store_of_member_0_alone_is_opened_although_zarr_writes_no_chunk_of_zeros(tmp_path: Path) -> None:
    layout = replace(LAYOUT, members=(0,))
    EnsembleStore.create(tmp_path / "ensemble.zarr", layout, ATTRIBUTES)
    assert EnsembleStore.open(tmp_path / "ensemble.zarr").layout == layout


@pytest.mark.parametrize("kind", ["store", "folder", "file"])
def test_creating_at_an_existing_path_leaves_it_unchanged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ensemble.zarr"
    if kind == "store":
        _commit(EnsembleStore.create(path, LAYOUT, ATTRIBUTES), 0, 0)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("mine")
    before = _snapshot(tmp_path)
    with pytest.raises(StoreError, match=r"already exists\. Choose another folder, or pass --resume") as caught:
        EnsembleStore.create(path, LAYOUT, {})
    assert str(path) in str(caught.value)
    assert _snapshot(tmp_path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_creating_leaves_only_the_store(store: EnsembleStore) -> None:
    assert list(store.path.parent.iterdir()) == [store.path]


def test_a_creation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        EnsembleStore.create(tmp_path / "ensemble.zarr", LAYOUT, {"seed": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["nothing", "file", "folder", "group", "array", "attribute", "groups", "zarr 2"])
def test_opening_something_else_is_refused_and_leaves_it_unchanged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ensemble.zarr"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    elif kind == "array":
        zarr.create_array(path, shape=(3,), dtype="int8")
    elif kind == "zarr 2":
        zarr.create_group(path, zarr_format=2, attributes={"variables": "u10"})
    elif kind != "nothing":
        attributes = {"group": {}, "attribute": {"variables": ["u10"]}, "groups": {"variables": "u10"}}[kind]
        zarr.create_group(path, attributes=attributes).create_group("lead_time")
    before = _snapshot(tmp_path)
    with pytest.raises(StoreError, match="is not an ensemble store of Warmcast: ") as caught:
        EnsembleStore.open(path)
    assert str(path) in str(caught.value)
    assert _snapshot(tmp_path) == before


@pytest.mark.parametrize("chunk", ["u10/c.0.1.0.0.0", "complete/c.1.0", "latitude/c.0"])
def test_a_flipped_bit_anywhere_in_a_chunk_is_detected(store: EnsembleStore, chunk: str) -> None:
    _commit(store, 0, 1)
    path = store.path / chunk
    intact = path.read_bytes()
    name = chunk.split("/")[0]
    for position in np.unique(np.linspace(0, len(intact) - 1, 40).astype(int)):
        damaged = bytearray(intact)
        damaged[position] ^= 1 << int(position) % 8
        path.write_bytes(damaged)
        array = _array(zarr.open_group(store.path, mode="r"), name)
        with pytest.raises(ValueError, match="checksum"):
            array[:]
    path.write_bytes(intact)
    np.testing.assert_array_equal(store.group_fields(0, 1), _numbers(0, 1))


def test_reading_a_damaged_or_missing_chunk_is_an_error(store: EnsembleStore) -> None:
    _commit(store, 0, 1)
    path = store.path / "v10/c.0.1.0.0.0"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(StoreError, match=r"`ensemble.zarr/v10/c.0.1.0.0.0` is damaged: its checksum"):
        store.group_fields(0, 1)
    path.unlink()
    with pytest.raises(StoreError, match=r"`ensemble.zarr/v10/c.0.1.0.0.0` is missing"):
        store.group_fields(0, 1)


def test_only_the_temporary_files_of_interrupted_writes_are_removed(store: EnsembleStore) -> None:
    fields = _commit(store, 0, 0)
    before = _snapshot(store.path)
    for leftover in ("u10/c.0.0.0.0.0.4f1e.partial", "complete/c.0.0.77aa.partial", "zarr.ab12.partial"):
        (store.path / leftover).write_bytes(b"half")
    assert store.num_complete_of_group(0) == 1
    store.path.remove_partial_files()
    store.path.remove_partial_files()
    assert _snapshot(store.path) == before
    np.testing.assert_array_equal(store.group_fields(0, 0), fields)


def test_the_metadata_never_changes_after_creation(store: EnsembleStore) -> None:
    def metadata() -> dict[Path, bytes]:
        return {path: content for path, content in _snapshot(store.path).items() if path.name == "zarr.json"}

    before = metadata()
    for group in range(3):
        _commit(EnsembleStore.open(store.path), group, 0)
    store.path.remove_partial_files()
    assert metadata() == before


def test_a_store_that_the_disk_cannot_hold_is_refused_before_it_is_created(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    too_long = replace(LAYOUT, num_lead_times=free // LAYOUT.size_bytes * LAYOUT.num_lead_times + 10**6)
    with pytest.raises(StoreError, match=r"may need [\d.]+ MB, but [\d.]+ MB are free"):
        EnsembleStore.create(tmp_path / "ensemble.zarr", too_long, {})
    assert not list(tmp_path.iterdir())
