"""Data sets of GRIB files with an index, of which only the messages of the needed variables are fetched."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weather.errors import UpstreamError
from weather.times import format_time
from weather.upstream.cache import AnalysisCache
from weather.upstream.dataset import FRAME_HOURS, Description, list_steps
from weather.upstream.indexes import (
    MAX_INDEX_BYTES,
    IndexFormatError,
    Message,
    OtherTimeError,
    Part,
    find_messages,
    join_messages,
)
from weather.upstream.messages import MessageError, OtherMessageError, check_message
from weather.upstream.templates import fill_template
from weather.upstream.transfers import PassingError, Transfer

ReadIndex = Callable[[bytes, np.datetime64, Mapping[str, str]], list[Part]]
_MAX_STEPS, _NUM_TIMES = 1000, 10_000
_FRAME = np.timedelta64(FRAME_HOURS, "h")


@dataclass(frozen=True)
class GribOrigin:
    """Where files and indexes are, by templates; the form of the indexes; and how they name each variable."""

    url: str
    index_url: str
    read_index: ReadIndex
    parameters: Mapping[str, str]
    streams: Mapping[int, str]
    step_hours: int
    lookback_hours: int


class GribIndexDataset:
    """The analyses of an origin. `begin` returns a new transfer; `group` is the folder of the cache for its files."""

    def __init__(
        self,
        name: str,
        description: Description,
        origin: GribOrigin,
        begin: Callable[[], Transfer],
        cache: AnalysisCache,
        group: str,
    ) -> None:
        self.name, self.description, self.step_hours = name, description, origin.step_hours
        self._origin, self._begin, self._cache, self._group = origin, begin, cache, group
        self._whole = dict[np.datetime64, None]()
        self._lock = threading.Lock()

    def list_times(self, start: np.datetime64, stop: np.datetime64) -> list[np.datetime64]:
        """Return the times in an interval that the origin has whole: at most a thousand are looked up."""
        transfer = self._begin()
        return [
            time for time in list_steps(start, stop, self.step_hours)[-_MAX_STEPS:] if self._is_whole(time, transfer)
        ]

    def find_newest(self, now: np.datetime64) -> np.datetime64 | None:
        """Return the newest initial time of the last `lookback_hours` of which both frames are there."""
        transfer = self._begin()
        earliest = now - np.timedelta64(self._origin.lookback_hours, "h")
        for time in reversed(list_steps(earliest, now, self.step_hours)):
            if self._is_whole(time, transfer) and self._is_whole(time - _FRAME, transfer):
                return time
        return None

    def fetch(self, times: Sequence[np.datetime64]) -> list[Path]:
        """Return files with the messages of these times, from the cache or the origin."""
        transfer = self._begin()
        return [self._fetch(time, transfer) for time in times]

    def _is_whole(self, time: np.datetime64, transfer: Transfer) -> bool:
        """Return whether a file is as long as the messages that its index lists; once it is, nothing is sent again."""
        with self._lock:
            if time in self._whole:
                return True
        if transfer.repeat(lambda: self._find_messages(time, transfer)) is None:
            return False
        with self._lock:
            self._whole[time] = None
            while len(self._whole) > _NUM_TIMES:
                del self._whole[next(iter(self._whole))]
        return True

    def _find_messages(self, time: np.datetime64, transfer: Transfer) -> list[Message] | None:
        """Return the messages of the variables, or None if the origin does not have all of them whole."""
        index = transfer.get(self._fill(self._origin.index_url, time), max_bytes=MAX_INDEX_BYTES)
        if index is None:
            return None
        try:
            parts = self._origin.read_index(index, time, self._origin.parameters)
        except OtherTimeError as error:
            raise transfer.refuse(str(error)) from error
        except IndexFormatError as error:
            raise PassingError(str(error)) from error
        if {part.variable for part in parts} != set(self._origin.parameters):
            return None
        size = transfer.find_size(self._fill(self._origin.url, time))
        messages = find_messages(parts, size or 0)
        is_whole = size is not None and all(0 < each.length <= size - each.first for each in messages)
        return messages if is_whole else None

    def _fetch(self, time: np.datetime64, transfer: Transfer) -> Path:
        name = f"{self.name}.{str(np.datetime_as_string(time, 'h')).replace('-', '').replace('T', '')}.grib2"
        found = self._cache.find(self._group, name)
        if found is not None:
            return found
        with self._cache.lock(self._group, name):
            found = self._cache.find(self._group, name)  # another thread or process has fetched it meanwhile
            if found is not None:
                return found
            content = transfer.repeat(lambda: self._download(time, transfer))
            return self._cache.store(self._group, name, content)

    def _download(self, time: np.datetime64, transfer: Transfer) -> bytes:
        messages = self._find_messages(time, transfer)
        if messages is None:
            hosts = " and ".join(self.description.hosts)
            problem = f"Data set {self.name} has no whole analysis of {format_time(time)} on {hosts}"
            raise UpstreamError(
                self.name, f"{problem}: it is not published yet, or not kept any more. Try again later."
            )
        content = b""
        for group in join_messages(messages):
            first, length = group[0].first, sum(message.length for message in group)
            received = transfer.get(self._fill(self._origin.url, time), first, length)
            if received is None:
                raise PassingError("a file disappears while it is read")
            for message in group:
                part = received[message.first - first :][: message.length]
                self._check(part, message, time, transfer)
            content += received
        return content

    def _check(self, content: bytes, message: Message, time: np.datetime64, transfer: Transfer) -> None:
        try:
            for variable in message.variables:
                check_message(content, time, variable)
        except OtherMessageError as error:
            raise transfer.refuse(str(error)) from error
        except MessageError as error:
            raise PassingError(str(error)) from error

    def _fill(self, template: str, time: np.datetime64) -> str:
        return fill_template(template, time, self._origin.streams)
