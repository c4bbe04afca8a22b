"""Read time and parameter of GRIB messages in Python, to recognise files that are cut short or of another hour.

Only headers of fixed layout are read, with the bounds of each section checked; values are decoded elsewhere, in a
process with limits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from weather.times import format_time
from weather.variables import KNOWN

_END = b"7777"
_SECONDS_OF_UNIT = {0: 60, 1: 3600, 2: 86_400, 10: 10_800, 11: 21_600, 12: 43_200, 13: 1}
"""Seconds of the units of time in GRIB's tables 4 (edition 1) and 4.4 (edition 2)."""
_AT_ONE_TIME = (0, 1)
"""Templates of section 4 for fields at one time: of a single analysis or forecast, and of a member."""
_HEIGHT, _SEA_LEVEL = 103, 101
_LARGE_MESSAGE = 1 << 23


class MessageError(ValueError):
    """Bytes are no whole GRIB messages, or not those that were requested; the message is a phrase."""


class OtherMessageError(MessageError):
    """Whole messages are of another time or variable than was requested."""


@dataclass(frozen=True)
class Field:
    """A field of a message: time of the run, valid time, and the variable as Warmcast names it, if it is a known one.

    Fields of edition 1 have no variable: their parameters depend on tables of the centre.
    """

    run: np.datetime64
    valid_time: np.datetime64
    variable: str | None
    edition: int


def read_fields(content: bytes | memoryview) -> list[Field]:
    """Return the fields of all messages in `content`, of which bytes between messages are skipped.

    Raises `MessageError` if there is no message, or one is damaged or cut short.
    """
    whole, fields, position = bytes(content), list[Field](), 0
    while (position := whole.find(b"GRIB", position)) >= 0:
        edition = whole[position + 7] if len(whole) >= position + 16 else 0
        if edition not in (1, 2):
            raise MessageError(f"a message at byte {position} is cut short or of an unknown edition")
        length = _integer(whole, position + 8, 8) if edition == 2 else _integer(whole, position + 4, 3)
        end = position + length
        if edition == 1 and length & _LARGE_MESSAGE:
            raise MessageError(f"the message at byte {position} of edition 1 has more than 8 MB")
        if length < 20 or end > len(whole) or whole[end - 4 : end] != _END:
            raise MessageError(f"the message at byte {position} is cut short: it does not end with 7777")
        try:
            read = _read_edition_2 if edition == 2 else _read_edition_1
            fields.extend(read(whole[position:end]))
        except (IndexError, ValueError, OverflowError) as error:
            raise MessageError(f"the message at byte {position} is damaged: {error}") from error
        position = end
    if not fields:
        raise MessageError("there is no GRIB message")
    return fields


def check_analysis(content: bytes | memoryview, time: np.datetime64, variables: Sequence[str]) -> None:
    """Raise `MessageError` unless `content` is whole messages with all of `variables` at a valid time.

    Of edition 1, whose parameters are not read, one field at that time suffices.
    """
    fields = read_fields(content)
    at_time = [field for field in fields if field.valid_time == time]
    if not at_time:
        times = sorted({format_time(field.valid_time) for field in fields})
        raise OtherMessageError(f"it is of {', '.join(times[:3])} and not of {format_time(time)}")
    if any(field.edition == 1 for field in at_time):
        return
    missing = [name for name in variables if name not in {field.variable for field in at_time}]
    if missing:
        raise OtherMessageError(f"it has no {' and '.join(missing)} of {format_time(time)}")


def check_message(content: bytes | memoryview, time: np.datetime64, variable: str) -> None:
    """Raise `MessageError` unless `content` is one whole message with the analysis of a variable at a time."""
    if bytes(content[:4]) != b"GRIB" or len(content) < 20 or _integer(bytes(content[:16]), 8, 8) != len(content):
        raise MessageError("the bytes are not one whole GRIB message")
    fields = read_fields(content)
    matches = [field for field in fields if field.variable == variable]
    if not matches:
        raise OtherMessageError(f"the message is not of {variable}")
    wrong = [field for field in matches if (field.run, field.valid_time) != (time, time)]
    if wrong:
        raise OtherMessageError(
            f"the message is of {format_time(wrong[0].valid_time)}, from the run of {format_time(wrong[0].run)}, and "
            f"not the analysis of {format_time(time)}"
        )


def _read_edition_2(message: bytes) -> Iterator[Field]:
    run: np.datetime64 = np.datetime64("NaT", "s")
    position, discipline = 16, message[6]
    while position < len(message) - 4:
        length, number = _integer(message, position, 4), message[position + 4]
        if length < 5 or position + length > len(message) - 4:
            raise ValueError(f"a section has {length} bytes")
        section = message[position : position + length]
        if number == 1:
            run = _time(_integer(section, 12, 2), section[14:19])
        elif number == 4:
            step = _SECONDS_OF_UNIT.get(section[17], 0) * _integer(section, 18, 4)
            yield Field(run, run + np.timedelta64(step, "s"), _find_variable(section, discipline), 2)
        position += length


def _find_variable(section: bytes, discipline: int) -> str | None:
    """Return the variable of a product definition section: parameter, height above ground or mean sea level."""
    if discipline != 0 or _integer(section, 7, 2) not in _AT_ONE_TIME or section[17] not in _SECONDS_OF_UNIT:
        return None
    parameter, surface = (section[9], section[10]), section[22]
    height = _integer(section, 24, 4) / 10.0 ** section[23] if section[23] < 128 else None
    for variable in KNOWN.values():
        level = _SEA_LEVEL if variable.height_m is None else _HEIGHT
        if parameter == variable.grib2 and surface == level and variable.height_m in (None, height):
            return variable.name
    return None


def _read_edition_1(message: bytes) -> Iterator[Field]:
    section = message[8:]
    year = 100 * (section[24] - 1) + section[12]
    run = _time(year, section[13:17] + bytes(1))
    first, second, kind = section[18], section[19], section[20]
    step = {0: first, 1: 0, 10: 256 * first + second}.get(kind, second)
    seconds = _SECONDS_OF_UNIT.get(section[17])
    if seconds is None:
        raise ValueError(f"the unit of time {section[17]} is not known")
    yield Field(run, run + np.timedelta64(step * seconds, "s"), None, 1)


def _time(year: int, others: bytes) -> np.datetime64:
    """Return the time of a year, and of month, day, hour, minute and second in a byte each."""
    month, day, hour, minute, second = others
    return np.datetime64(datetime(year, month, day, hour, minute, second), "s")  # UTC, as numpy takes it


def _integer(content: bytes, position: int, size: int) -> int:
    """Return the big-endian integer of `size` bytes at `position`; raise `IndexError` beyond the end."""
    if position + size > len(content):
        raise IndexError("it ends within a header")
    return int.from_bytes(content[position : position + size])
