import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.inputs import state, state_spec, write_netcdf
from tests.parsing import parse_in_process
from weather.errors import InitialStateError
from weather.ingest import parent
from weather.ingest.parent import ingest_initial_state
from weather.initial_state import InitialState, read_initial_state

UNKNOWN_TYPES = ("r64", {"name": "hostile", "configuration": {}})


@pytest.fixture(autouse=True)
def unconfined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse uploads in this process; `tests/unit/weather/ingest` tests its limits."""
    monkeypatch.setattr(parent, "run_parser", parse_in_process)


def _read(path: Path) -> InitialState:
    return read_initial_state([str(path)], state_spec())


def _ingest(path: Path) -> InitialState:
    return ingest_initial_state([path], [path.name], state_spec(), None)


def _store_with(folder: Path, name: str, kind: object) -> Path:
    """Write a store with a further array of a type, declared on latitude and longitude."""
    state().to_zarr(folder / "winds.zarr", zarr_format=3, consolidated=False)
    shutil.copytree(folder / "winds.zarr/u10", folder / "winds.zarr" / name)
    path = folder / "winds.zarr" / name / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_type": kind, "attributes": {}}))
    return folder / "winds.zarr"


@pytest.mark.parametrize("kind", UNKNOWN_TYPES)
def test_an_unrelated_array_of_an_unknown_type_is_left_out(kind: object, tmp_path: Path) -> None:
    clean = _read(write_netcdf(state(), tmp_path / "clean.nc"))
    store = _store_with(tmp_path, "quality", kind)
    zipped = Path(shutil.make_archive(str(tmp_path / "inside"), "zip", tmp_path, store.name))
    for found in (_read(store), _read(zipped), _ingest(zipped)):
        assert found.digest == clean.digest


@pytest.mark.parametrize("name", ["u10", "height"])
@pytest.mark.parametrize("read", [_read, _ingest])
def test_a_variable_or_coordinate_of_an_unknown_type_is_refused_by_its_name(
    name: str, read: Callable[[Path], InitialState], tmp_path: Path
) -> None:
    state().rename(u10="other").to_zarr(tmp_path / "winds.zarr", zarr_format=3, consolidated=False)
    shutil.copytree(tmp_path / "winds.zarr/other", tmp_path / "winds.zarr" / name)
    path = tmp_path / "winds.zarr" / name / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_type": "r64"}))
    zipped = Path(shutil.make_archive(str(tmp_path / "winds"), "zip", tmp_path / "winds.zarr"))
    with pytest.raises(InitialStateError, match=rf"its array `{name}` (cannot be read|is of type)") as caught:
        read(zipped)
    assert "damaged" not in str(caught.value)


UNRELATED = {
    "compound": np.dtype([("a", "f4"), ("b", "i8")]),
    "variable length": h5py.vlen_dtype(np.int32),
    "opaque": np.dtype("V7"),
    "enumeration": h5py.enum_dtype({"a": 0}),
    "reference": h5py.ref_dtype,
    "text": h5py.string_dtype(),
    "complex": np.dtype("c8"),
}


@pytest.mark.parametrize("kind", UNRELATED)
def test_an_unrelated_variable_of_netcdf_may_be_of_any_type(kind: str, tmp_path: Path) -> None:
    clean = _read(write_netcdf(state(), tmp_path / "clean.nc"))
    write_netcdf(state(), tmp_path / "winds.nc")
    with h5py.File(tmp_path / "winds.nc", "a") as file:
        file.create_dataset("quality", (3,), UNRELATED[kind])
    assert _read(tmp_path / "winds.nc").digest == clean.digest


def test_an_enormous_axis_of_other_variables_is_never_decoded(tmp_path: Path) -> None:
    clean = _read(write_netcdf(state(), tmp_path / "clean.nc"))
    write_netcdf(state(), tmp_path / "winds.nc")
    with h5py.File(tmp_path / "winds.nc", "a") as file:
        file.create_dataset("station", (10**10,), "i8", chunks=(1000,)).make_scale("station")
    assert _read(tmp_path / "winds.nc").digest == _ingest(tmp_path / "winds.nc").digest == clean.digest
