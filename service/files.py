"""Files of a place as answers: those of a disk by FastAPI's own response, those of object storage read through."""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse

from weather.places import Facts, Place

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")
_BINARY = "application/octet-stream"


def answer_file(place: Place, facts: Facts, request: Request, headers: Mapping[str, str]) -> Response:
    """Return a file, or the range of it that is asked for. Several ranges of an object are answered with all of it."""
    if isinstance(place, Path):
        return FileResponse(place, headers=headers, media_type=_BINARY)
    size, etag = facts.size_bytes, f'"{facts.etag}"'
    told = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    status, start, stop = 200, 0, size
    if asked is not None and request.headers.get("If-Range", etag) == etag:
        first, last, suffix = (int(part) if part else None for part in asked.groups())
        status, start = 206, max(size - suffix, 0) if suffix is not None else first or 0
        stop = size if last is None else min(last + 1, size)
        if start >= stop:
            return Response(None, 416, {**headers, "Content-Range": f"bytes */{size}"})
        told["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    if request.method == "HEAD":
        return Response(None, status, {**told, "Content-Length": str(stop - start)}, _BINARY)
    return Response(place.read_range(start, stop), status, told, _BINARY)


def stream_zip(folder: Place) -> Iterator[bytes]:
    """Yield a zip of a folder, with one of its files in memory at a time."""
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as target:
        for name, _ in sorted(folder.files()):
            target.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())
            yield pieces.taken()
    yield pieces.taken()


class _Pieces(io.RawIOBase):
    """A file that is written to its end only, and taken away from its beginning."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override] # zipfile writes nothing but bytes
        self._written += content
        return len(content)

    def taken(self) -> bytes:
        """Return what has been written since the last time."""
        content, self._written = bytes(self._written), bytearray()
        return content
