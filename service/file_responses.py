"""Build responses from stored files, on a disk or in object storage: the whole file, one range, or 304."""

import re
from collections.abc import Callable, Iterable, Mapping
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
    size, etag = stat.size_bytes, f'"{stat.etag}"'
    headers = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
    if is_unchanged(request, etag):
        return Response(None, 304, headers)
    status, start, stop = 200, 0, size
    byte_range = _RANGE.fullmatch(request.headers.get("Range", ""))
    if byte_range is not None and request.headers.get("If-Range", etag) == etag:
        first, last, suffix = (int(part) if part else None for part in byte_range.groups())
        status, start = 206, max(size - suffix, 0) if suffix is not None else first or 0
        stop = size if last is None else min(last + 1, size)
        if start >= stop:
            return Response(None, 416, {**headers, "Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    if request.method == "HEAD":
        return Response(None, status, headers, media_type)
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
