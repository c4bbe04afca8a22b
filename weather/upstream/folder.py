"""A data set of a folder that is watched: another program puts a file there for each analysis."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weather.errors import UpstreamError, UpstreamRefusedError
from weather.readers.containers import SourceError, detect_format, read_start
from weather.times import format_time
from weather.upstream.dataset import Description, find_newest_pair, list_steps
from weather.upstream.messages import MessageError, check_analysis
from weather.upstream.templates import fill_template

_log = logging.getLogger(__name__)
_MAX_STEPS = 10_000
_NUM_RESULTS = 1000


@dataclass(frozen=True)
class FolderOrigin:
    """Where the files are: a folder, the template of their names, and what is expected of each.

    A file of GRIB is whole if all its messages are and it has the `variables` at its time; one of another format, once
    it has not changed for `settle_seconds`. `lookback_hours` is how far back the newest analysis is looked for.
    """

    folder: Path
    file: str
    step_hours: int
    variables: tuple[str, ...]
    settle_seconds: float
    lookback_hours: int
    max_bytes: int


class FolderDataset:
    """The analyses in a folder; `clock` returns the seconds since 1970."""

    def __init__(
        self, name: str, description: Description, origin: FolderOrigin, clock: Callable[[], float] = time.time
    ) -> None:
        self.name, self.description, self.step_hours = name, description, origin.step_hours
        self._origin, self._clock = origin, clock
        self._lock = threading.Lock()
        self._problems = dict[tuple[Path, int, int], str | None]()

    def list_times(self, start: np.datetime64, stop: np.datetime64) -> list[np.datetime64]:
        """Return the times in an interval for which the folder has a whole file."""
        self._check_folder()
        steps = list_steps(start, stop, self.step_hours)
        if len(steps) > _MAX_STEPS:
            raise UpstreamRefusedError(
                self.name, f"At most {_MAX_STEPS} times can be listed at once. Got: {len(steps)}."
            )
        return [step for step in steps if self._find_problem(step) is None]

    def find_newest(self, now: np.datetime64) -> np.datetime64 | None:
        """Return the newest initial time of the last `lookback_hours` of which both frames are there."""
        return find_newest_pair(self.list_times(now - np.timedelta64(self._origin.lookback_hours, "h"), now))

    def fetch(self, times: Sequence[np.datetime64]) -> list[Path]:
        """Return the files of these times, which stay where they are."""
        self._check_folder()
        for wanted in times:
            problem = self._find_problem(wanted)
            if problem is not None:
                raise UpstreamError(
                    self.name, f"Data set {self.name} has no analysis of {format_time(wanted)}: {problem}."
                )
        return [self._path(wanted) for wanted in times]

    def _path(self, wanted: np.datetime64) -> Path:
        return self._origin.folder / fill_template(self._origin.file, wanted)

    def _check_folder(self) -> None:
        if not os.access(self._origin.folder, os.R_OK | os.X_OK):
            _log.debug("data set %s: the folder %s cannot be read", self.name, self._origin.folder)
            raise UpstreamError(
                self.name, f"The folder of data set {self.name} cannot be read. Check that it is mounted."
            )

    def _find_problem(self, wanted: np.datetime64) -> str | None:
        """Return why the analysis of a time cannot be used, as a phrase, or None; each file is read once."""
        path = self._path(wanted)
        try:
            status = path.stat()
        except OSError:
            return "there is no such file"
        if not status.st_size or status.st_size > self._origin.max_bytes:
            return f"the file has {status.st_size} bytes, and from 1 to {self._origin.max_bytes} are accepted"
        key = path, status.st_mtime_ns, status.st_size
        with self._lock:
            if key in self._problems:
                return self._problems[key]
        problem = self._read_problem(path, wanted, self._clock() - status.st_mtime)
        is_final = self._clock() - status.st_mtime >= self._origin.settle_seconds
        if problem is None or is_final:
            with self._lock:
                self._problems[key] = problem
                while len(self._problems) > _NUM_RESULTS:
                    del self._problems[next(iter(self._problems))]
        return problem

    def _read_problem(self, path: Path, wanted: np.datetime64, age_seconds: float) -> str | None:
        try:
            kind = detect_format(read_start(path, path.name))
            if kind == "GRIB":
                check_analysis(path.read_bytes(), wanted, self._origin.variables)
                return None
        except (MessageError, SourceError, OSError) as error:
            return (
                f"the file is not whole, or is another one: {error}"
                if not isinstance(error, OSError)
                else "it cannot be read"
            )
        if kind is None:
            return "the file is of no accepted format"
        if age_seconds < self._origin.settle_seconds:
            return "the file may still be written"
        return None
