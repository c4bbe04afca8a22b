"""The download of an ensemble as a zip file, continued across restarts of the service."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from warmcast.errors import DownloadError
from warmcast.exchange import IDENTITY, Answer, Failure, Open, Outage, Read, Request, Service, Steps, forecast_path

Progress = Callable[[int, int | None], None]
"""Called with the number of bytes saved and the number of all bytes, None where the service does not say it."""

_ARCHIVE_SECONDS = 600.0


def download(
    service: Service,
    forecast_id: str,
    path: str | Path,
    *,
    timeout_seconds: float | None = None,
    progress: Progress | None = None,
) -> Steps[Path]:
    """Save the ensemble as a zip file and return its path; `zarr.storage.ZipStore` opens it.

    The file appears under its name when it is complete; until then it has a hidden name of its own in the same folder.
    """
    target = Path(path)
    partial = target.with_name(f".warmcast-{secrets.token_hex(8)}.partial")
    try:
        _check_target(target)
        with partial.open("xb") as file:
            archive = _Archive(service, forecast_id, file, timeout_seconds, progress)
            yield from archive.receive()
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise DownloadError(f"`{target}` cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _check_target(target: Path) -> None:
    if target.is_dir():
        raise DownloadError(f"`{target}` is a folder. Give the name of the zip file to write.")
    if not target.parent.is_dir():
        raise DownloadError(f"The folder `{target.parent}` does not exist. Create it, or choose another.")


class _Archive:
    """The zip of an ensemble on its way into a file; `size` bytes of the version `etag` are in the file."""

    def __init__(
        self,
        service: Service,
        forecast_id: str,
        file: BinaryIO,
        timeout_seconds: float | None,
        progress: Progress | None,
    ) -> None:
        self._path = forecast_path(forecast_id, "ensemble.zarr.zip")
        self._file, self._progress = file, progress
        self._outage = Outage(service, timeout_seconds)
        self._answer_seconds = _ARCHIVE_SECONDS if timeout_seconds is None else min(_ARCHIVE_SECONDS, timeout_seconds)
        self._size, self._largest_size, self._etag = 0, 0, ""
        self._full_size: int | None = None

    def receive(self) -> Steps[None]:
        """Write the whole zip into the file; a connection that breaks is continued with a range."""
        while True:
            answer = yield Open(self._request())
            if self._outage.is_available(answer):
                if self._size and not self._can_continue(answer):
                    self._restart()
                    continue
                self._begin(answer.check())
                answer = yield from self._receive_body()
                if answer is None:
                    return
            yield from self._outage.pause(answer)

    def _request(self) -> Request:
        headers = {**IDENTITY}
        if self._size and self._etag:
            headers |= {"Range": f"bytes={self._size}-", "If-Range": self._etag}
        return Request("GET", self._path, headers=headers, answer_seconds=self._answer_seconds)

    def _can_continue(self, answer: Answer) -> bool:
        """Return whether an answer is the range after the saved bytes, the whole zip, or a problem of another kind."""
        if answer.status == 206:
            return answer.headers.get("content-range", "").startswith(f"bytes {self._size}-")
        return answer.status != 416

    def _begin(self, answer: Answer) -> None:
        """Prepare the file for the answer's body: after the saved bytes for 206, from the start for 200."""
        size = answer.headers.get("content-length", "")
        if answer.status != 206:
            self._restart()
        self._full_size = self._size + int(size) if size.isdigit() else None
        etag = answer.headers.get("etag", "")
        self._etag = "" if etag.startswith("W/") else etag

    def _restart(self) -> None:
        self._size, self._etag = 0, ""
        self._file.seek(0)
        self._file.truncate()

    def _receive_body(self) -> Steps[Failure | None]:
        """Write the body of an answer into the file; returns None if it is complete, else what failed."""
        while isinstance(block := (yield Read()), bytes) and block:
            self._file.write(block)
            self._size += len(block)
            if self._size > self._largest_size:
                self._largest_size = self._size
                self._outage.end()
            if self._progress is not None:
                self._progress(self._size, self._full_size)
        if isinstance(block, Failure):
            return block
        if self._full_size is None or self._size == self._full_size:
            return None
        return Failure(f"the answer has ended after {self._size} of {self._full_size} bytes", was_sent=True)
