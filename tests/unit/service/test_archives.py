import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import binary, dictionaries, sampled_from
from obstore.store import MemoryStore

from service.archives import build_zip, stream_zip, zip_path
from storage.bucket import BucketPath
from storage.paths import StoragePath, storage_path
from tests.stored_files import chunk_file
from weather.stores.checks import Files
from weather.stores.chunks import is_chunk

NAMES = ("zarr.json", "u10/zarr.json", "u10/c.0.0", "u10/c.0.1", "a/b/c/d", "é")


def _bucket(files: dict[str, bytes]) -> BucketPath:
    """Return the path of a forecast's folder in object storage, with these files in its ensemble."""
    folder = BucketPath(MemoryStore(), "memory:", "forecast")
    for name, content in files.items():
        (folder / "ensemble.zarr" / name).write(content)
    return folder


def _intact(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files, each chunk with its checksum."""
    return {name: chunk_file(content) if is_chunk(name) else content for name, content in files.items()}


def _found(folder: StoragePath) -> Files:
    """Return the files that a forecast's folder has."""
    return dict.fromkeys(name for name, _ in folder.files())


def _stream(files: dict[str, bytes]) -> bytes:
    folder = _bucket(files)
    return b"".join(stream_zip(folder, _found(folder)))


def _build(folder: Path, check: Callable[[], None] = lambda: None) -> Path:
    return build_zip(folder, lambda: _found(storage_path(folder)), check)


def _read(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == len(set(archive.namelist()))
        return {name: archive.read(name) for name in archive.namelist()}


@given(files=dictionaries(sampled_from(NAMES), binary(max_size=200)))
def test_a_streamed_zip_contains_the_files_of_the_folder(files: dict[str, bytes]) -> None:
    files = _intact(files)
    assert _read(_stream(files)) == files


@given(files=dictionaries(sampled_from(NAMES), binary(max_size=200)))
def test_equal_folders_have_equal_zips(files: dict[str, bytes]) -> None:
    files = _intact(files)
    reversed_order = dict(reversed(files.items()))
    assert _stream(files) == _stream(reversed_order)


def test_a_built_and_a_streamed_zip_of_the_same_folder_are_equal(tmp_path: Path) -> None:
    store = storage_path(tmp_path / "ensemble.zarr")
    files = _intact({name: name.encode() * 1000 for name in NAMES})
    for name, content in files.items():
        (store / name).write(content)
    built = _build(tmp_path)
    assert built == zip_path(tmp_path)
    folder = storage_path(tmp_path)
    assert _read(built.read_bytes()) == _read(b"".join(stream_zip(folder, _found(folder)))) == files


def test_a_stream_holds_one_file_at_a_time() -> None:
    contents = _intact({f"c.{index}": np.random.default_rng(index).bytes(10_000) for index in range(20)})
    folder = _bucket(contents)
    parts = list(stream_zip(folder, _found(folder)))
    assert len(parts) >= len(contents)
    assert max(map(len, parts)) < 2 * 10_000


def test_chunks_which_are_compressed_already_are_stored_and_not_compressed_again() -> None:
    content = _stream({"c.0": chunk_file(bytes(10_000))})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_temporary_files_are_left_out(tmp_path: Path) -> None:
    store: StoragePath = storage_path(tmp_path / "ensemble.zarr")
    (store / "c.0").write(chunk_file(b"whole"))
    (tmp_path / "ensemble.zarr/.c.1.0123.partial").write_bytes(b"half")
    assert _read(_build(tmp_path).read_bytes()) == {"c.0": chunk_file(b"whole")}


def _fail() -> None:
    raise KeyError("deleted")


@pytest.mark.parametrize("has_store", [True, False])
def test_there_is_no_zip_of_deleted_data(tmp_path: Path, has_store: bool) -> None:
    if has_store:
        (storage_path(tmp_path / "ensemble.zarr") / "c.0").write(chunk_file(b"whole"))
    folder = tmp_path if has_store else tmp_path / "removed"
    with pytest.raises(KeyError, match="deleted"):
        _build(folder, _fail)
    assert not zip_path(folder).exists()
    assert not list(tmp_path.glob(".*.partial"))


def test_a_zip_is_built_once(tmp_path: Path) -> None:
    (storage_path(tmp_path / "ensemble.zarr") / "c.0").write(chunk_file(b"whole"))
    checks: list[Callable[[], None]] = []
    first = _build(tmp_path, lambda: checks.append(_fail)).stat()
    second = _build(tmp_path, lambda: checks.append(_fail)).stat()
    assert (first.st_ino, first.st_mtime_ns, len(checks)) == (second.st_ino, second.st_mtime_ns, 1)
