import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError
from obstore.store import MemoryStore

from storage.atomic import PARTIAL_SUFFIX
from storage.bucket import BucketPath, open_bucket
from storage.paths import FileStat, StoragePath, storage_path


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> StoragePath:
    if request.param == "disk":
        return storage_path(tmp_path / "folder")
    return BucketPath(MemoryStore(), "memory:", "some/where")


def _content(folder: StoragePath) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name, _ in folder.files()}


def test_a_file_has_the_content_written_last(folder: StoragePath) -> None:
    file = folder / "a/b.json"
    assert file.name == "b.json"
    assert not file.exists()
    assert file.file_stat() is None
    for content in (b"first", memoryview(b"second one")):
        file.write(content)
        file.sync()
    assert file.exists()
    assert (folder / "a").exists()
    assert (folder / "a").file_stat() is None
    assert file.read_bytes() == b"second one"
    assert file.read_range(3, 6) == b"ond"
    assert list(folder.files()) == [("a/b.json", 10)]


def test_the_entity_tag_changes_with_the_content(folder: StoragePath) -> None:
    file = folder / "a"
    file.write(b"first")
    first = file.file_stat()
    assert isinstance(first, FileStat)
    assert file.file_stat() == first
    assert first.size_bytes == 5
    file.write(b"other")
    again = file.file_stat()
    assert again is not None
    assert again.etag != first.etag


@pytest.mark.parametrize("read", [lambda folder: folder.read_bytes(), lambda folder: folder.read_range(0, 1)])
def test_reading_a_missing_file_raises_file_not_found(
    folder: StoragePath, read: Callable[[StoragePath], object]
) -> None:
    with pytest.raises(FileNotFoundError):
        read(folder / "a")


def test_an_existing_file_is_not_replaced_by_a_link_or_copy(folder: StoragePath) -> None:
    for name in ("first", "second"):
        (folder / name).write(name.encode())
    (folder / "below/target").link_or_copy(folder / "first")
    (folder / "below/target").link_or_copy(folder / "second")
    assert (folder / "below/target").read_bytes() == b"first"


def test_a_put_refused_because_of_another_put_that_then_fails_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = BucketPath(MemoryStore(), "memory:", "")
    (folder / "source").write(b"content")
    put, refusals = obstore.put, [AlreadyExistsError("409 Conflict")]

    def refusing(*arguments: Any, **options: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return put(*arguments, **options)

    monkeypatch.setattr(obstore, "put", refusing)
    (folder / "target").link_or_copy(folder / "source")
    assert (folder / "target").read_bytes() == b"content"
    refusals.extend([AlreadyExistsError("409 Conflict")] * 20)
    with pytest.raises(ConnectionError, match="says that it exists, but it does not"):
        (folder / "another").link_or_copy(folder / "source")


def test_a_folder_is_created_with_its_files(folder: StoragePath) -> None:
    files = {"a/zarr.json": b"a", "a/c/0": b"0", "zarr.json": b"root"}
    (folder / "made").create_folder(files)
    assert _content(folder / "made") == files
    with pytest.raises(OSError, match=r"made"):
        (folder / "made").create_folder({"zarr.json": b"another"})
    assert _content(folder / "made") == files


def test_folders_yields_the_immediate_subfolders(folder: StoragePath) -> None:
    assert list(folder.folders()) == []
    for name in ("a/b/c", "d/e", "f"):
        (folder / name).write(b"")
    assert sorted(subfolder.name for subfolder in folder.folders()) == ["a", "d"]
    (subfolder,) = (folder / "a").folders()
    assert [name for name, _ in subfolder.files()] == ["c"]


def test_removing_a_folder_leaves_names_with_the_same_prefix(folder: StoragePath) -> None:
    for name in ("fc_1/a/b", "fc_1/c", "fc_12/a", "fc_1.json"):
        (folder / name).write(b"")
    (folder / "fc_1").remove()
    assert sorted(_content(folder)) == ["fc_1.json", "fc_12/a"]
    (folder / "fc_1.json").remove()
    (folder / "missing").remove()
    assert sorted(_content(folder)) == ["fc_12/a"]


def test_the_modified_time_of_a_folder_is_that_of_its_newest_entry(folder: StoragePath) -> None:
    (folder / "a").write(b"")
    assert abs(folder.modified_time() - time.time()) < 60


def test_a_path_is_printed_in_full(tmp_path: Path) -> None:
    assert str(storage_path(tmp_path) / "a/b") == f"{tmp_path}/a/b"
    assert str(BucketPath(MemoryStore(), "s3://bucket/prefix/", "") / "a/b") == "s3://bucket/prefix/a/b"


def test_storage_that_is_not_reached_raises_a_connection_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ENDPOINT_URL", "http://127.0.0.1:1"), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(ConnectionError, match=r"`s3://bucket/a` was not reached"):
        (open_bucket("s3://bucket", allow_http=True) / "a").read_bytes()


def test_a_killed_write_leaves_no_file_and_is_removed_when_it_is_old(tmp_path: Path) -> None:
    folder = storage_path(tmp_path)
    (folder / "a/c").write(b"whole")
    old, young = (tmp_path / "a" / f".c.{name}{PARTIAL_SUFFIX}" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"ha")
    os.utime(old, (0, 0))
    assert list(folder.files()) == [("a/c", 5)]
    folder.remove_partial_files(60)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(["c", young.name])
    folder.remove_partial_files()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["c"]


def test_files_that_are_removed_during_a_listing_are_left_out(tmp_path: Path) -> None:
    folder = storage_path(tmp_path)
    for name in "abc":
        (folder / name).write(b"")
    listed = folder.files()
    first, _ = next(listed)
    for path in tmp_path.iterdir():
        path.unlink()
    assert not [name for name, _ in listed if name != first]
