import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.atomic import create_folder, replace_file, temporary_file, write_bytes, write_bytes_if_absent, write_text


def test_a_file_is_written_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/file.json"
    for text in ("first", "second, longer: °"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    write_bytes(path, memoryview(b"bytes"))
    assert path.read_bytes() == b"bytes"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_a_file_has_the_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_text("")
    write_text(tmp_path / "ours", "")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)


def test_the_target_appears_only_when_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replace_file(path) as partial:
        partial.write_bytes(b"half")
        assert not path.exists()
        assert partial.parent == path.parent
        partial.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert not partial.exists()


def test_an_error_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail() -> None:
        with replace_file(path) as partial:
            partial.write_bytes(b"half")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - raised by the block itself
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_renamed_leaves_no_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_bytes(tmp_path / "folder", b"")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_file_is_written_only_if_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/file"
    for content in (b"first", b"second"):
        write_bytes_if_absent(path, content)
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_content_that_cannot_be_written_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "file", b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("storage.atomic.os.fsync", fail)
    for write, name in ((write_bytes, "file"), (write_bytes, "new"), (write_bytes_if_absent, "new")):
        with pytest.raises(OSError, match="no space"):
            write(tmp_path / name, b"content")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"old")]


def test_a_file_in_the_current_folder_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bytes(Path("file"), b"content")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "file"):
        pass


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_bytes(tmp_path / "file", content), contents))
    assert (tmp_path / "file").read_bytes() in contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flushes, renames and links, in the order in which they end and begin."""
    kept, fsync, replace, link = list[str](), os.fsync, os.replace, os.link

    def record_fsync(descriptor: int) -> None:
        fsync(descriptor)
        kept.append("flush folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "flush file")

    def record_replace(source: Path, target: Path) -> None:
        kept.append("rename")
        replace(source, target)

    def record_link(source: str, target: Path) -> None:
        kept.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "link", record_link)
    monkeypatch.setattr(os, "replace", record_replace)
    return kept


def test_a_file_is_flushed_before_it_is_renamed_and_its_folder_after(tmp_path: Path, events: list[str]) -> None:
    with replace_file(tmp_path / "file") as partial:
        partial.write_bytes(b"content")
    assert events == ["flush file", "rename", "flush folder"]


@pytest.mark.parametrize("sync_folder", [True, False])
def test_content_is_flushed_before_it_gets_its_name(tmp_path: Path, events: list[str], *, sync_folder: bool) -> None:
    write_bytes(tmp_path / "file", b"content", sync_folder=sync_folder)
    assert events == ["flush file", "rename", "flush folder"][: 3 if sync_folder else 2]
    events.clear()
    write_bytes_if_absent(tmp_path / "other", b"content")
    assert events == ["flush file", "link"]


def test_all_files_of_a_folder_reach_the_disk_before_its_rename(tmp_path: Path, events: list[str]) -> None:
    create_folder(tmp_path / "folder", {f"{name}/{number}": b"content" for name in "ab" for number in range(20)})
    before, after = events[: events.index("rename")], events[events.index("rename") :]
    assert sorted(before) == ["flush file"] * 40 + ["flush folder"] * 3
    assert after == ["rename", "flush folder"]


def test_a_temporary_file_is_removed_whether_it_was_written_or_not(tmp_path: Path) -> None:
    with temporary_file(tmp_path / "file") as partial:
        partial.write_bytes(b"content")
    with temporary_file(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_created_whole_or_not_at_all(tmp_path: Path) -> None:
    create_folder(tmp_path / "new/folder", {"a/b": b"1", "c": b"2"})
    assert (tmp_path / "new/folder/a/b").read_bytes() == b"1"
    with pytest.raises(OSError, match="folder"):
        create_folder(tmp_path / "new/folder", {"c": b"3"})
    with pytest.raises(OSError, match="in-the-way"):
        create_folder(tmp_path / "other", {"in-the-way": b"", "in-the-way/d": b""})
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["folder"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]
