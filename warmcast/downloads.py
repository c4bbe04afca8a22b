"""The download of a forecast as a zip, NetCDF or GRIB 2 file, continued across restarts of the service."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from warmcast.errors import DownloadError
from warmcast.exchange import IDENTITY, Answer, Failure, Open, Outage, Read, Request, Service, Steps, forecast_path
from warmcast.files import check_target, open_whole

Progress = Callable[[int, int | None], None]
"""Called with the number of bytes saved and the number of all bytes, None where the service does not say it."""

_ARCHIVE_SECONDS = 600.0
_FILES = {".zip": "{}{}.zarr.zip", ".nc": "{}{}.nc", ".grib2": "{}{}.grib2"}


def download(
    service: Service,
    forecast_id: str,
    path: str | Path,
    *,
    summary: bool = False,
    parameters: Sequence[str] | str = (),
    members: Sequence[int] | str = (),
    times: str = "../..",
    bbox: Sequence[float] | str = (),
    first: int | None = None,
    timeout_seconds: float | None = None,
    progress: Progress | None = None,
) -> Steps[Path]:
    """Save the forecast as a file and return its path.

    The end of the name is the format: `.zip` is the whole ensemble of a successful forecast, or with `first` so many
    complete lead times of any forecast, which `zarr.storage.ZipStore` opens; `.nc` is NetCDF and `.grib2` GRIB 2, of
    the complete lead times of any forecast. With `summary`, these two and zips with `first` have the statistics instead
    of the members. Of NetCDF and GRIB, `parameters` are names such as `u10`; `members` are numbers, or a text such as
    `0-9,12`; `times` is a valid time or an interval such as `2026-04-20T06:00Z/..`; `bbox` is a region: west, south,
    east, north in degrees. All are saved by default.

    The file appears under its name when it is complete; until then it has a hidden name of its own in the same folder.
    """
    target = Path(path)
    check_target(target)
    query = _query(parameter_name=parameters, members=members, datetime=times.removeprefix("../.."), bbox=bbox)
    name = _file_name(target, first, summary=summary, is_part=bool(query))
    with open_whole(target) as file:
        archive = _Archive(service, forecast_path(forecast_id, name), query, file, timeout_seconds, progress)
        yield from archive.receive()
    return target


def _query(**given: Sequence[object] | str) -> dict[str, Any]:
    """Return the parameters of a query of which something is given: a text, or values between which commas are put."""
    texts = {name: value if isinstance(value, str) else ",".join(map(str, value)) for name, value in given.items()}
    return {name.replace("_", "-"): text for name, text in texts.items() if text}


def _file_name(target: Path, first: int | None, *, summary: bool, is_part: bool) -> str:
    """Return the name of the file of the service; raises `DownloadError` for a file that it does not have."""
    if target.suffix not in _FILES:
        raise DownloadError(f"The name must end with {', '.join(_FILES)}. Got: `{target.name}`.")
    if target.suffix == ".zip" and (is_part or (summary and first is None)):
        raise DownloadError(
            "A zip has the whole ensemble, or its `first` lead times. Save another part, or the summary of all lead "
            "times, as .nc or .grib2."
        )
    if target.suffix != ".zip" and first is not None:
        raise DownloadError("Only a zip has the `first` lead times; of .nc and .grib2 choose them by their `times`.")
    store = "summary" if summary else "ensemble"
    return _FILES[target.suffix].format("" if first is None else f"as-of/{first}/", store)


class _Archive:
    """A file of the service on its way into a file here; `size` bytes of the version `etag` are in that."""

    def __init__(
        self,
        service: Service,
        path: str,
        query: Mapping[str, Any],
        file: BinaryIO,
        timeout_seconds: float | None,
        progress: Progress | None,
    ) -> None:
        self._path, self._query = path, query
        self._file, self._progress = file, progress
        self._outage = Outage(service, timeout_seconds)
        self._answer_seconds = _ARCHIVE_SECONDS if timeout_seconds is None else min(_ARCHIVE_SECONDS, timeout_seconds)
        self._size, self._largest_size, self._etag = 0, 0, ""
        self._full_size: int | None = None

    def receive(self) -> Steps[None]:
        """Write the whole content into the file; a connection that breaks is continued with a range."""
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
        return Request("GET", self._path, self._query, headers=headers, answer_seconds=self._answer_seconds)

    def _can_continue(self, answer: Answer) -> bool:
        """Return whether an answer is the range after the saved bytes, all, or a problem of another kind."""
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
