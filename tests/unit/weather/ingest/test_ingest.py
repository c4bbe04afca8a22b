import gzip
import random
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from models.testing import tiny_spec
from tests.parsing import parse_in_process
from weather.errors import (
    InitialStateError,
    InputCorruptError,
    InputTooLargeError,
    InputUnsupportedError,
    ParserTimeoutError,
    VerificationError,
)
from weather.ingest import parent
from weather.ingest.exchange import load_initial_state, save_initial_state
from weather.ingest.parent import ingest_initial_state, ingest_truth
from weather.ingest.process import Limits
from weather.initial_state import InitialState, read_initial_state
from weather.manifest import ModelSpec

MUTANTS = 2


@pytest.fixture(autouse=True)
def no_temporary_file_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Check after each test that it left no temporary file."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def _ingest(spec: ModelSpec, *files: Path, limits: Limits | None = None) -> InitialState:
    return ingest_initial_state(files, [path.name for path in files], spec, None, limits)


def test_a_file_is_read_through_a_relative_temporary_folder(
    spec: ModelSpec, winds: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child works in another folder than its parent."""
    winds.to_netcdf(tmp_path / "winds.nc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", "temporary")
    assert _ingest(spec, Path("winds.nc")).digest == _ingest(spec, tmp_path / "winds.nc").digest


def test_packed_files_are_read_in_the_child_and_leave_no_file(
    spec: ModelSpec, winds: xr.Dataset, gfs_files: list[Path], tmp_path: Path
) -> None:
    winds.to_netcdf(tmp_path / "winds.nc")
    winds.assign(
        mask=winds.u10.isel(time=0, drop=True).astype(np.int8), name=("station", np.array(["a", "b"], object))
    ).to_zarr(tmp_path / "winds.zarr", consolidated=False)
    _zip(tmp_path / "winds.zarr", tmp_path / "store.zip")
    shutil.make_archive(str(tmp_path / "outer"), "zip", tmp_path, "winds.zarr")
    (tmp_path / "winds.nc.gz").write_bytes(gzip.compress((tmp_path / "winds.nc").read_bytes()))
    with zipfile.ZipFile(tmp_path / "cds.zip", "w") as archive:
        archive.write(tmp_path / "winds.nc", "data stream-oper (1).nc")
        archive.writestr("__MACOSX/._data stream-oper (1).nc", b"\0\x05\x16\x07")
    clean = _ingest(spec, tmp_path / "winds.nc")
    for name in ("store.zip", "outer.zip", "winds.nc.gz", "cds.zip"):
        found = _ingest(spec, tmp_path / name)
        assert (found.digest, found.sources) == (clean.digest, (name,))
        assert {source.file.split("/")[0] for source in found.choice} == {name}
    with zipfile.ZipFile(tmp_path / "gfs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in gfs_files:
            archive.writestr(path.name, b"YTRA12 KWBC 150000\r\r\n" + path.read_bytes() + b"\r\r\n\x03")
    assert _ingest(spec, tmp_path / "gfs.zip").digest == _ingest(spec, *gfs_files).digest


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (lambda content: gzip.compress(content)[:-100], InputCorruptError, "cannot be read as gzip"),
        (lambda content: content[:3000], InputCorruptError, "damaged"),
        (lambda content: gzip.compress(content[:3000]), InputCorruptError, "damaged"),
        (lambda content: gzip.compress(content + bytes(10**8)), InputTooLargeError, "grows more than 200 times"),
        (lambda content: gzip.compress(b"GIF89a" + content), InputUnsupportedError, "must be GRIB, NetCDF or Zarr"),
    ],
)
def test_what_is_found_while_unpacking_is_an_error_of_its_kind(
    damage: Callable[[bytes], bytes],
    kind: type[Exception],
    text: str,
    spec: ModelSpec,
    winds: xr.Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parent, "run_parser", parse_in_process)
    winds.to_netcdf(tmp_path / "winds.nc")
    (tmp_path / "upload").write_bytes(damage((tmp_path / "winds.nc").read_bytes()))
    with pytest.raises(kind, match=text) as caught:
        _ingest(spec, tmp_path / "upload")
    assert "`upload`" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_values_that_are_damaged_make_the_file_corrupt(spec: ModelSpec, winds: xr.Dataset, tmp_path: Path) -> None:
    winds.to_zarr(tmp_path / "winds.zarr", consolidated=False)
    for chunk in (tmp_path / "winds.zarr/u10/c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"no chunk of Zstandard")
    with pytest.raises(InputCorruptError, match=r"The values of `a\.zip` cannot be read: .*damaged or cut short"):
        _ingest(spec, _zip(tmp_path / "winds.zarr", tmp_path / "a.zip"))


def _zip(source: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(source))
    return target


def test_grib_netcdf_and_zipped_zarr_give_the_same_state_in_the_child(
    gfs_files: list[Path], winds: xr.Dataset, tmp_path: Path
) -> None:
    winds.to_netcdf(tmp_path / "winds.nc")
    winds.to_zarr(tmp_path / "winds.zarr", consolidated=False)
    zipped = _zip(tmp_path / "winds.zarr", tmp_path / "winds.zip")
    for files, num_frames in ((gfs_files, 2), ([tmp_path / "winds.nc"], 2), ([zipped], 3)):
        spec = tiny_spec(context_frames=num_frames)
        state = _ingest(spec, *files)
        assert len(state.frames) == num_frames
        assert state.digest == read_initial_state([str(path) for path in files], spec).digest
        assert state.sources == tuple(path.name for path in files)


def test_warnings_and_refusals_of_the_child_are_those_of_the_reader(
    spec: ModelSpec, winds: xr.Dataset, tmp_path: Path
) -> None:
    later = winds.assign_coords(time=winds.time + np.timedelta64(100 * 365, "D"))
    later.to_netcdf(tmp_path / "later.nc")
    (warning,) = _ingest(spec, tmp_path / "later.nc").warnings
    assert warning.startswith("The initial time, 2118-08-22T06:00, is in the future")
    constant = winds.assign({name: (0 * array + 60).assign_attrs(units="m s-1") for name, array in winds.items()})
    constant.to_netcdf(tmp_path / "constant.nc")
    with pytest.raises(InitialStateError, match="is 60 m s-1 everywhere, so it is no analysis") as caught:
        _ingest(spec, tmp_path / "constant.nc")
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("num_frames", [2, 3])
def test_a_state_is_saved_and_loaded_bit_for_bit_and_damage_is_detected(
    spec: ModelSpec, tmp_path: Path, num_frames: int
) -> None:
    draw = np.random.default_rng(0)
    shape = (2, 2, *spec.grid.grid.shape)
    frames = tuple(draw.normal(size=shape).astype(np.float32) for _ in range(num_frames))
    state = InitialState(np.datetime64("2018-09-15T00", "s"), frames, ("a", "b"), (), ("It is calm.",))
    save_initial_state(state, tmp_path / "state")
    again = load_initial_state(tmp_path / "state")
    assert (again.digest, again.sources, again.init_time) == (state.digest, state.sources, state.init_time)
    assert again.warnings == state.warnings
    for frame, expected in zip(again.frames, frames, strict=True):
        np.testing.assert_array_equal(frame, expected)
    content = bytearray((tmp_path / "state/initial_state.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "state/initial_state.npy").write_bytes(content)
    with pytest.raises(Exception, match="is damaged"):
        load_initial_state(tmp_path / "state")


def test_a_readable_file_that_lacks_a_variable_is_refused_by_its_name(
    spec: ModelSpec, winds: xr.Dataset, tmp_path: Path
) -> None:
    winds[["u10"]].isel(time=[0]).to_netcdf(tmp_path / "half.nc")
    with pytest.raises(InitialStateError, match=r"`half\.nc`.*10 metre v wind") as caught:
        _ingest(spec, tmp_path / "half.nc")
    assert str(tmp_path) not in str(caught.value)


def test_a_file_of_another_format_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear sirs")
    with pytest.raises(
        InputUnsupportedError, match=r"`letter` must be GRIB, NetCDF or Zarr, .*Got: a text file of 9 bytes"
    ):
        _ingest(spec, tmp_path / "letter")


def _huge_grid(content: bytes) -> bytes:
    """Declare 60000 × 30000 points."""
    position = content.index(struct.pack(">IB", 72, 3))
    changed = bytearray(content)
    changed[position + 6 : position + 10] = struct.pack(">I", 60000 * 30000)
    changed[position + 30 : position + 38] = struct.pack(">II", 60000, 30000)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["external", "virtual", "soft", "other file"])
def test_hdf5_that_refers_to_other_files_is_refused_without_disclosing_them(
    kind: str, spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind != "external":  # one kind in the child is enough
        monkeypatch.setattr(parent, "run_parser", parse_in_process)
    (tmp_path / "secret").write_bytes(b"secret" * 100)
    with h5py.File(tmp_path / "bad.nc", "w") as file:
        if kind == "external":
            file.create_dataset("u10", (2, 4, 4), "f4", external=[(str(tmp_path / "secret"), 0, 128)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((2, 4, 4), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "u10", (2, 4, 4))
            file.create_virtual_dataset("u10", layout)
        else:
            file["u10"] = h5py.SoftLink("/v10") if kind == "soft" else h5py.ExternalLink(str(tmp_path / "o.h5"), "/u10")
    with pytest.raises(
        InputUnsupportedError, match=r"`bad\.nc`: `u10` (is a soft or external link|keeps its values)"
    ) as caught:
        _ingest(spec, tmp_path / "bad.nc")
    assert "secret" not in str(caught.value)


def test_an_array_that_needs_too_much_memory_is_refused(spec: ModelSpec, winds: xr.Dataset, tmp_path: Path) -> None:
    winds.to_netcdf(tmp_path / "winds.nc")
    with pytest.raises((InputTooLargeError, InitialStateError)):
        _ingest(spec, tmp_path / "winds.nc", limits=Limits(memory_bytes=300_000_000))


def test_parsing_that_takes_too_long_is_stopped(spec: ModelSpec, winds: xr.Dataset, tmp_path: Path) -> None:
    winds.to_netcdf(tmp_path / "winds.nc")
    with pytest.raises(ParserTimeoutError, match=r"took more than 0\.2 s"):
        _ingest(spec, tmp_path / "winds.nc", limits=Limits(wall_seconds=0.2))


@pytest.mark.parametrize("form", ["GRIB", "NetCDF", "zipped Zarr"])
def test_every_mutated_file_gives_a_state_or_an_error_without_a_path_of_the_server(
    form: str, spec: ModelSpec, gfs_files: list[Path], winds: xr.Dataset, tmp_path: Path
) -> None:
    winds.to_netcdf(tmp_path / "winds.nc")
    winds.to_zarr(tmp_path / "winds.zarr", consolidated=False)
    others = {"NetCDF": tmp_path / "winds.nc", "zipped Zarr": _zip(tmp_path / "winds.zarr", tmp_path / "winds.zip")}
    files = gfs_files if form == "GRIB" else [others[form]]
    original, draw, times = files[0].read_bytes(), random.Random(form), winds.time.values[-1:].astype("datetime64[s]")
    messages = []
    for number in range(MUTANTS):
        content = bytearray(original)
        for _ in range(draw.choice([1, 4, 64])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        (tmp_path / "mutant").write_bytes(content if number else content[: len(content) // 2])
        paths = [tmp_path / "mutant", *files[1:]]
        try:
            if number % 2:
                ingest_truth(paths, ["a", "b"][: len(paths)], spec.variable_names, spec.grid.grid, times)
            else:
                ingest_initial_state(paths, ["a", "b"][: len(paths)], spec, None)
        except (InitialStateError, VerificationError) as error:
            messages.append(str(error))
    assert messages
    assert not any(str(path) in message for message in messages for path in (tmp_path, Path.cwd()))
