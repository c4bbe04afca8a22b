import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError
from obstore.store import MemoryStore

from weather.objects import ObjectPlace, open_bucket
from weather.places import Facts, Place, place_of


@pytest.fixture(params=["disk", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return place_of(tmp_path / "here")
    return ObjectPlace(MemoryStore(), "memory:", "some/where")


def _content(place: Place) -> dict[str, bytes]:
    return {name: (place / name).read_bytes() for name, _ in place.files()}


def test_a_file_is_what_was_written_last(place: Place) -> None:
    file = place / "a/b.json"
    assert file.name == "b.json"
    assert not file.exists()
    assert file.look() is None
    for content in (b"first", memoryview(b"second one")):
        file.write(content)
        file.sync()
    assert file.exists()
    assert (place / "a").exists()
    assert (place / "a").look() is None
    assert file.read_bytes() == b"second one"
    assert file.read_range(3, 6) == b"ond"
    assert list(place.files()) == [("a/b.json", 10)]


def test_a_file_that_has_changed_is_known_by_its_etag(place: Place) -> None:
    file = place / "a"
    file.write(b"first")
    first = file.look()
    assert isinstance(first, Facts)
    assert file.look() == first
    assert first.size_bytes == 5
    file.write(b"other")
    again = file.look()
    assert again is not None
    assert again.etag != first.etag


@pytest.mark.parametrize("read", [lambda place: place.read_bytes(), lambda place: place.read_range(0, 1)])
def test_what_is_not_there_is_told_as_such(place: Place, read: Callable[[Place], object]) -> None:
    with pytest.raises(FileNotFoundError):
        read(place / "a")


def test_what_is_here_is_never_taken_over(place: Place) -> None:
    for name in ("first", "second"):
        (place / name).write(name.encode())
    (place / "below/target").take(place / "first")
    (place / "below/target").take(place / "second")
    assert (place / "below/target").read_bytes() == b"first"


def test_what_is_refused_because_of_a_put_that_then_failed_is_put_again(monkeypatch: pytest.MonkeyPatch) -> None:
    place = ObjectPlace(MemoryStore(), "memory:", "")
    (place / "source").write(b"content")
    put, refusals = obstore.put, [AlreadyExistsError("409 Conflict")]

    def refusing(*arguments: Any, **options: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return put(*arguments, **options)

    monkeypatch.setattr(obstore, "put", refusing)
    (place / "target").take(place / "source")
    assert (place / "target").read_bytes() == b"content"
    refusals.extend([AlreadyExistsError("409 Conflict")] * 20)
    with pytest.raises(ConnectionError, match="is refused as being there, and is not"):
        (place / "another").take(place / "source")


def test_a_folder_is_created_with_its_files(place: Place) -> None:
    files = {"a/zarr.json": b"a", "a/c/0": b"0", "zarr.json": b"root"}
    (place / "made").create(files)
    assert _content(place / "made") == files
    with pytest.raises(OSError, match=r"made"):
        (place / "made").create({"zarr.json": b"another"})
    assert _content(place / "made") == files


def test_folders_are_those_right_below(place: Place) -> None:
    assert list(place.folders()) == []
    for name in ("a/b/c", "d/e", "f"):
        (place / name).write(b"")
    assert sorted(folder.name for folder in place.folders()) == ["a", "d"]
    (found,) = (place / "a").folders()
    assert [name for name, _ in found.files()] == ["c"]


def test_removing_leaves_what_only_begins_alike(place: Place) -> None:
    for name in ("fc_1/a/b", "fc_1/c", "fc_12/a", "fc_1.json"):
        (place / name).write(b"")
    (place / "fc_1").remove()
    assert sorted(_content(place)) == ["fc_1.json", "fc_12/a"]
    (place / "fc_1.json").remove()
    (place / "not there").remove()
    assert sorted(_content(place)) == ["fc_12/a"]


def test_a_folder_tells_when_something_came_into_it(place: Place) -> None:
    (place / "a").write(b"")
    assert abs(place.changed() - time.time()) < 60


def test_a_place_is_named_in_full_by_messages(tmp_path: Path) -> None:
    assert str(place_of(tmp_path) / "a/b") == f"{tmp_path}/a/b"
    assert str(ObjectPlace(MemoryStore(), "s3://bucket/prefix/", "") / "a/b") == "s3://bucket/prefix/a/b"


def test_storage_that_does_not_answer_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ENDPOINT_URL", "http://127.0.0.1:1"), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(ConnectionError, match=r"`s3://bucket/a` was not reached"):
        (open_bucket("s3://bucket", allow_http=True) / "a").read_bytes()
