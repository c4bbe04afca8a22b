"""Build responses from stored files, on a disk or in object storage: the whole file, one range, or 304."""

import re
from collections.abc import Mapping
from itertools import chain

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from service.caching import is_unchanged
from storage.paths import StoragePath

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")


def respond_with_file(
    path: StoragePath, request: Request, headers: Mapping[str, str], media_type: str = "application/octet-stream"
) -> Response:
    """Return the response with a file, or with the range that the request names, or 304 if the client has the file.

    A request for several ranges receives the whole file. Raises `FileNotFoundError` if there is no such file.
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
    blocks = path.read_blocks(start, stop)
    beginning = next(blocks, b"")
    if len(beginning) == stop - start:
        return Response(beginning, status, headers, media_type)
    return StreamingResponse(chain([beginning], blocks), status, headers, media_type)
