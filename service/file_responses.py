"""Build responses from stored files: on disk with FastAPI's own response, from object storage by reading through."""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
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


def stream_zip(folder: StoragePath) -> Iterator[bytes]:
    """Yield the bytes of a zip of a folder, holding one of its files in memory at a time."""
    buffer = _ZipBuffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name, _ in sorted(folder.files()):
            target.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())
            yield buffer.drain()
    yield buffer.drain()


class _ZipBuffer(io.RawIOBase):
    """A file object that collects the bytes `zipfile` appends, until they are drained."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override] # zipfile writes nothing but bytes
        self._written += content
        return len(content)

    def drain(self) -> bytes:
        """Return and remove the bytes written since the last call."""
        content, self._written = bytes(self._written), bytearray()
        return content
