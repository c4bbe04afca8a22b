import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request, Response
from hypothesis import example, given
from hypothesis.strategies import integers, none, one_of, sampled_from, text, tuples
from obstore.store import MemoryStore

from service.file_responses import respond_with_file
from storage.bucket import BucketPath
from storage.paths import StoragePath, storage_path

SIZE = 20
CONTENT = bytes(range(SIZE))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StoragePath]:
    """The same file on a disk and in a bucket."""
    files: dict[str, StoragePath] = {
        "disk": storage_path(tmp_path_factory.mktemp("files") / "chunk"),
        "bucket": BucketPath(MemoryStore(), "memory:", "chunk"),
    }
    for path in files.values():
        path.write(CONTENT)
    return files


def _respond(path: StoragePath, method: str = "GET", **headers: str) -> tuple[Response, bytes]:
    """Return the response with a file, and all bytes of its body."""
    raw = [(name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/", "query_string": b"", "headers": raw}
    response = respond_with_file(path, Request(scope), {"Cache-Control": "no-cache"})
    body = bytearray()

    async def receive() -> Mapping[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError("nothing is sent to the response")

    async def send(message: Mapping[str, Any]) -> None:
        body.extend(message.get("body", b""))

    asyncio.run(response(scope, receive, send))
    return response, bytes(body)


def _expected(byte_range: str, content: bytes) -> tuple[int, bytes, str | None]:
    """Return status, content and `Content-Range` of a range request by RFC 9110, section 14, read byte by byte."""
    match = re.fullmatch(r"bytes=([0-9]*)-([0-9]*)", byte_range, re.ASCII)
    if match is None or match.groups() == ("", "") or max(map(len, match.groups())) > 18:
        return 200, content, None
    first, last = (int(part) if part else None for part in match.groups())
    size = len(content)
    if first is None:
        assert last is not None
        wanted = [index for index in range(size) if index >= size - last]
    else:
        wanted = [index for index in range(size) if first <= index and (last is None or index <= last)]
    if not wanted:
        return 416, b"", f"bytes */{size}"
    return 206, bytes(content[index] for index in wanted), f"bytes {wanted[0]}-{wanted[-1]}/{size}"


_NUMBERS = one_of(none(), integers(0, SIZE + 5), sampled_from([10**17, 10**18 - 1]))
_RANGES = tuples(_NUMBERS, _NUMBERS).map(
    lambda ends: "bytes=" + "-".join("" if end is None else str(end) for end in ends)
)
_HEADERS = one_of(_RANGES, text("bytes=0123456789-, ", max_size=14).map(str.strip))


@pytest.mark.parametrize("storage", ["disk", "bucket"])
@given(byte_range=_HEADERS)
@example("bytes=0-0")
@example("bytes=-0")
@example("bytes=-1")
@example("bytes=00019-")
@example("bytes=20-")
@example("bytes=7-3")
@example("bytes=0-1,3-4")
@example("bytes= 0-1")
@example("bytes=0-1-2")
@example("bytes=--1")
@example("bytes=-")
@example(f"bytes=0-{10**20}")
@example(f"bytes=-{10**20}")
def test_a_range_follows_the_standard(files: dict[str, StoragePath], storage: str, byte_range: str) -> None:
    status, content, content_range = _expected(byte_range, CONTENT)
    response, body = _respond(files[storage], Range=byte_range)
    assert (response.status_code, body, response.headers.get("content-range")) == (status, content, content_range)
    assert response.headers["content-length"] == str(len(content))
    head, nothing = _respond(files[storage], "HEAD", Range=byte_range)
    assert (head.status_code, dict(head.headers), nothing) == (status, dict(response.headers), b"")


@pytest.mark.parametrize("byte_range", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"])
def test_no_range_of_an_empty_file_can_be_sent(tmp_path: Path, byte_range: str) -> None:
    path = storage_path(tmp_path / "empty")
    path.write(b"")
    response, _ = _respond(path, Range=byte_range)
    assert (response.status_code, response.headers["content-range"]) == (416, "bytes */0")
    whole, body = _respond(path)
    assert (whole.status_code, whole.headers["content-length"], body) == (200, "0", b"")


def test_ranges_that_follow_each_other_are_the_whole_file(files: dict[str, StoragePath]) -> None:
    for path in files.values():
        for step in (1, 3, 7, SIZE, 2 * SIZE):
            parts = [_respond(path, Range=f"bytes={start}-{start + step - 1}")[1] for start in range(0, SIZE, step)]
            assert b"".join(parts) == CONTENT


@pytest.mark.parametrize("storage", ["disk", "bucket"])
def test_a_file_larger_than_a_block_is_sent_whole_and_in_ranges(tmp_path: Path, storage: str) -> None:
    content = bytes(range(256)) * 40_000
    path: StoragePath = storage_path(tmp_path / "large")
    if storage == "bucket":
        path = BucketPath(MemoryStore(), "memory:", "large")
    path.write(content)
    response, body = _respond(path)
    assert (body == content, response.headers["content-length"]) == (True, str(len(content)))
    for start, last in ((0, len(content) - 1), (1, 9_000_000), (8_388_607, 8_388_608)):
        response, body = _respond(path, Range=f"bytes={start}-{last}")
        assert (response.status_code, body == content[start : last + 1]) == (206, True)
        assert response.headers["content-length"] == str(last + 1 - start)


def test_a_file_that_does_not_exist_is_an_error(files: dict[str, StoragePath], tmp_path: Path) -> None:
    for path in (storage_path(tmp_path / "none"), BucketPath(MemoryStore(), "memory:", "none"), storage_path(tmp_path)):
        with pytest.raises(FileNotFoundError):
            _respond(path)


@pytest.mark.parametrize("storage", ["disk", "bucket"])
def test_the_headers_of_the_caller_are_in_every_response(files: dict[str, StoragePath], storage: str) -> None:
    etag = _respond(files[storage])[0].headers["etag"]
    for headers, status in (({}, 200), ({"Range": "bytes=1-2"}, 206), ({"Range": "bytes=99-"}, 416)):
        response, _ = _respond(files[storage], **headers)
        assert (response.status_code, response.headers["cache-control"]) == (status, "no-cache")
        assert (response.headers["etag"], response.headers["accept-ranges"]) == (etag, "bytes")
    unchanged, body = _respond(files[storage], If_None_Match=etag, Range="bytes=1-2")
    assert (unchanged.status_code, body, unchanged.headers["cache-control"]) == (304, b"", "no-cache")


@pytest.mark.parametrize("storage", ["disk", "bucket"])
def test_the_tag_of_a_file_changes_with_its_content(tmp_path: Path, storage: str) -> None:
    path: StoragePath = storage_path(tmp_path / "file")
    if storage == "bucket":
        path = BucketPath(MemoryStore(), "memory:", "file")
    tags = set()
    for content in (b"a", b"ab", b""):
        path.write(content)
        tags.add(_respond(path)[0].headers["etag"])
    assert len(tags) == 3
    assert all(re.fullmatch(r'"[^"\s]+"', tag) for tag in tags)
