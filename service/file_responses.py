"""Build responses from stored files: on disk with FastAPI's own response, from object storage by reading through."""

import re
from collections.abc import Mapping
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse

from storage.paths import FileStat, StoragePath

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")
_BINARY = "application/octet-stream"


def respond_with_file(path: StoragePath, stat: FileStat, request: Request, headers: Mapping[str, str]) -> Response:
    """Return the response with a file, or with the range that the request names.

    A request for several ranges of an object in a bucket receives the whole object.
    """
    if isinstance(path, Path):
        return FileResponse(path, headers=headers, media_type=_BINARY)
    size, etag = stat.size_bytes, f'"{stat.etag}"'
    response_headers = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
    byte_range = _RANGE.fullmatch(request.headers.get("Range", ""))
    status, start, stop = 200, 0, size
    if byte_range is not None and request.headers.get("If-Range", etag) == etag:
        first, last, suffix = (int(part) if part else None for part in byte_range.groups())
        status, start = 206, max(size - suffix, 0) if suffix is not None else first or 0
        stop = size if last is None else min(last + 1, size)
        if start >= stop:
            return Response(None, 416, {**headers, "Content-Range": f"bytes */{size}"})
        response_headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    if request.method == "HEAD":
        return Response(None, status, {**response_headers, "Content-Length": str(stop - start)}, _BINARY)
    return Response(path.read_range(start, stop), status, response_headers, _BINARY)
