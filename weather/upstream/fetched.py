"""A data set whose analyses are fetched from servers, into a cache, each once."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from weather.errors import UpstreamError
from weather.times import format_time
from weather.upstream.cache import AnalysisCache
from weather.upstream.dataset import FRAME_HOURS, Description, list_steps
from weather.upstream.transfers import Transfer

_MAX_STEPS, _NUM_TIMES = 1000, 10_000
_FRAME = np.timedelta64(FRAME_HOURS, "h")


class Source(Protocol):
    """How the analyses of one kind of origin are found and fetched; `repeat` of a transfer calls each method."""

    def find_last(self, now: np.datetime64, transfer: Transfer) -> np.datetime64:
        """Return the time until which analyses are looked for: `now`, or the end of an archive."""

    def name_file(self, time: np.datetime64, transfer: Transfer) -> str | None:
        """Return the name of the file with the analysis of a time, or None if there never is one."""

    def is_whole(self, time: np.datetime64, transfer: Transfer) -> bool | None:
        """Return whether the origin has the analysis whole; None if only its content says so."""

    def download(self, time: np.datetime64, transfer: Transfer) -> bytes | None:
        """Return the content of the file, checked, or None if the origin does not have all of it."""


class FetchedDataset:
    """The analyses of a source. `begin` returns a new transfer; `group` is the folder of the cache for its files."""

    def __init__(
        self,
        name: str,
        description: Description,
        source: Source,
        steps: tuple[int, int],
        begin: Callable[[], Transfer],
        cache: AnalysisCache,
        group: str,
    ) -> None:
        self.name, self.description, self._source = name, description, source
        self.step_hours, self._lookback_hours = steps
        self._begin, self._cache, self._group = begin, cache, group
        self._whole = dict[np.datetime64, None]()
        self._lock = threading.Lock()

    def list_times(self, start: np.datetime64, stop: np.datetime64) -> list[np.datetime64]:
        """Return the times in an interval that the origin has whole: at most a thousand are looked up."""
        transfer, steps = self._begin(), list_steps(start, stop, self.step_hours)[-_MAX_STEPS:]
        return [time for time in steps if self._is_whole(time, transfer)]

    def find_newest(self, now: np.datetime64) -> np.datetime64 | None:
        """Return the newest initial time of the last `lookback_hours` of which both frames are there."""
        transfer = self._begin()
        last = transfer.repeat(lambda: self._source.find_last(now, transfer))
        for time in reversed(list_steps(last - np.timedelta64(self._lookback_hours, "h"), last, self.step_hours)):
            if self._is_whole(time, transfer) and self._is_whole(time - _FRAME, transfer):
                return time
        return None

    def fetch(self, times: Sequence[np.datetime64]) -> list[Path]:
        """Return files with the analyses of these times, from the cache or the origin; a file may have several."""
        transfer, files = self._begin(), dict[Path, None]()
        for time in times:
            path = self._fetch(time, transfer)
            if path is None:
                hosts = " and ".join(self.description.hosts)
                problem = f"Data set {self.name} has no whole analysis of {format_time(time)} on {hosts}"
                raise UpstreamError(
                    self.name, f"{problem}: it is not published yet, or not kept any more. Try again later."
                )
            files[path] = None
        return list(files)

    def _is_whole(self, time: np.datetime64, transfer: Transfer) -> bool:
        """Return whether the origin has an analysis whole; once it has, nothing is sent again."""
        with self._lock:
            if time in self._whole:
                return True
        is_whole = transfer.repeat(lambda: self._source.is_whole(time, transfer))
        if is_whole is None:
            is_whole = self._fetch(time, transfer) is not None
        if is_whole:
            with self._lock:
                self._whole[time] = None
                while len(self._whole) > _NUM_TIMES:
                    del self._whole[next(iter(self._whole))]
        return is_whole

    def _fetch(self, time: np.datetime64, transfer: Transfer) -> Path | None:
        name = transfer.repeat(lambda: self._source.name_file(time, transfer))
        if name is None:
            return None
        found = self._cache.find(self._group, name)
        if found is not None:
            return found
        with self._cache.lock(self._group, name):
            found = self._cache.find(self._group, name)  # another thread or process has fetched it meanwhile
            if found is not None:
                return found
            content = transfer.repeat(lambda: self._source.download(time, transfer))
            return None if content is None else self._cache.store(self._group, name, content)


def name_by_time(dataset: str, time: np.datetime64, suffix: str) -> str:
    """Return the name of a file of one analysis, such as `gfs-1p00.2026030112.grib2`."""
    hour = str(np.datetime_as_string(time, "h")).replace("-", "").replace("T", "")
    return f"{dataset}.{hour}{suffix}"
