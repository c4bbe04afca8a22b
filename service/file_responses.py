"""Build responses of known size: stored files, on a disk or in object storage, and others; whole, a range, or 304."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from service.caching import is_unchanged
from service.threads import READERS, iterate_in_threads
from storage.paths import StoragePath

Check = Callable[[Iterable[bytes]], object]
"""Reads a file by its blocks, and raises an error if the content is not what it should be."""

_READ_AT_ONCE = 1 << 20
"""Bytes of a file that is read once, to be checked and sent; a larger one is read once to be checked, and again."""
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")


@dataclass(frozen=True)
class RequestedRange:
    """What a request gets of a content: a status, headers, the bytes from `start` up to, but not including, `stop`.

    Without `has_body` it gets no bytes.
    """

    status: int
    headers: dict[str, str]
    start: int = 0
    stop: int = 0
    has_body: bool = False


def find_range(request: Request, size: int, etag: str, headers: Mapping[str, str]) -> RequestedRange:
    """Return what a request gets of a content of `size` bytes: all, one range, or nothing for HEAD, 304 and 416.

    `headers` are those of the response besides the ones of entity tag, range and length.
    """
    found = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
    if is_unchanged(request, etag):
        return RequestedRange(304, found)
    status, start, stop = 200, 0, size
    byte_range = _RANGE.fullmatch(request.headers.get("Range", ""))
    if byte_range is not None and request.headers.get("If-Range", etag) == etag:
        first, last, suffix = (int(part) if part else None for part in byte_range.groups())
        status, start = 206, max(size - suffix, 0) if suffix is not None else first or 0
        stop = size if last is None else min(last + 1, size)
        if start >= stop:
            return RequestedRange(416, {**found, "Content-Range": f"bytes */{size}"})
        found["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    found["Content-Length"] = str(stop - start)
    return RequestedRange(status, found, start, stop, has_body=request.method != "HEAD")


def respond_with_file(
    path: StoragePath,
    request: Request,
    headers: Mapping[str, str],
    media_type: str = "application/octet-stream",
    check: Check | None = None,
) -> Response:
    """Return the response with a file, or with the range that the request names, or 304 if the client has the file.

    A request for several ranges receives the whole file. Before any of it is sent, `check` reads the whole file. Raises
    the errors of `check`, and `FileNotFoundError` if there is no such file.
    """
    stat = path.file_stat()
    if stat is None:
        raise FileNotFoundError(path)
    size = stat.size_bytes
    requested = find_range(request, size, f'"{stat.etag}"', headers)
    if not requested.has_body:
        return Response(None, requested.status, requested.headers, media_type if requested.status < 300 else None)
    status, start, stop, headers = requested.status, requested.start, requested.stop, requested.headers
    if check is not None and size <= _READ_AT_ONCE:
        content = path.read_bytes()
        check([content])
        return Response(content[start:stop], status, headers, media_type)
    if check is not None:
        check(path.read_blocks(0, size))
    blocks = path.read_blocks(start, stop)
    beginning = next(blocks, b"")
    if len(beginning) == stop - start:
        return Response(beginning, status, headers, media_type)
    return StreamingResponse(iterate_in_threads(chain([beginning], blocks), READERS), status, headers, media_type)
