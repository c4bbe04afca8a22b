"""Sources of GRIB files with an index, of which only the messages of the needed variables are fetched."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from weather.upstream.fetched import name_by_time
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


@dataclass(frozen=True)
class GribIndexSource:
    """Where files and indexes are, by templates; the form of the indexes; and how they name each variable."""

    dataset: str
    url: str
    index_url: str
    read_index: ReadIndex
    parameters: Mapping[str, str]
    streams: Mapping[int, str]

    def find_last(self, now: np.datetime64, _transfer: Transfer) -> np.datetime64:
        """Return `now`."""
        return now

    def name_file(self, time: np.datetime64, _transfer: Transfer) -> str:
        """Return the name of a file of one time."""
        return name_by_time(self.dataset, time, ".grib2")

    def is_whole(self, time: np.datetime64, transfer: Transfer) -> bool:
        """Return whether the file is as long as the messages that its index lists."""
        return self._find_messages(time, transfer) is not None

    def download(self, time: np.datetime64, transfer: Transfer) -> bytes | None:
        """Return the messages of the variables, each checked."""
        messages = self._find_messages(time, transfer)
        if messages is None:
            return None
        content = b""
        for group in join_messages(messages):
            first, length = group[0].first, sum(message.length for message in group)
            received = transfer.get(self._fill(self.url, time), first, length)
            if received is None:
                raise PassingError("a file disappears while it is read")
            for message in group:
                _check(received[message.first - first :][: message.length], message, time, transfer)
            content += received
        return content

    def _find_messages(self, time: np.datetime64, transfer: Transfer) -> list[Message] | None:
        """Return the messages of the variables, or None if the origin does not have all of them whole."""
        index = transfer.get(self._fill(self.index_url, time), max_bytes=MAX_INDEX_BYTES)
        if index is None:
            return None
        try:
            parts = self.read_index(index, time, self.parameters)
        except OtherTimeError as error:
            raise transfer.refuse(str(error)) from error
        except IndexFormatError as error:
            raise PassingError(str(error)) from error
        if {part.variable for part in parts} != set(self.parameters):
            return None
        size = transfer.find_size(self._fill(self.url, time))
        messages = find_messages(parts, size or 0)
        is_whole = size is not None and all(0 < each.length <= size - each.first for each in messages)
        return messages if is_whole else None

    def _fill(self, template: str, time: np.datetime64) -> str:
        return fill_template(template, time, self.streams)


def _check(content: bytes, message: Message, time: np.datetime64, transfer: Transfer) -> None:
    try:
        for variable in message.variables:
            check_message(content, time, variable)
    except OtherMessageError as error:
        raise transfer.refuse(str(error)) from error
    except MessageError as error:
        raise PassingError(str(error)) from error
