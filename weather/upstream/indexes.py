"""Read indexes of GRIB files, which say at which bytes each message is: wgrib2's `.idx` and ECMWF's `.index`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

MAX_INDEX_BYTES = 5_000_000
_ANALYSIS_STEPS = ("anl", "0 hour fcst")


class IndexFormatError(ValueError):
    """A file is no index; the message is a phrase."""


class OtherTimeError(ValueError):
    """An index is of another time than was requested; the message is a phrase."""


@dataclass(frozen=True)
class Part:
    """Where the message of a variable is: first byte, and length, which is None for the last message of a file."""

    variable: str
    first: int
    length: int | None


def read_idx(content: bytes, time: np.datetime64, parameters: Mapping[str, str]) -> list[Part]:
    """Return the parts of an index of wgrib2 with the analyses of `parameters`, such as `UGRD:10 m above ground`.

    Each line is `NUMBER:FIRST BYTE:d=yyyymmddhh:PARAMETER:LEVEL:STEP:…`. A last line that is cut short is left out.
    """
    lines = _split(content)
    rows = [line.split(":") for line in lines]
    if not rows or any(len(row) < 6 or not row[1].isdecimal() for row in rows):
        raise IndexFormatError("its index is none of wgrib2")
    starts = sorted({int(row[1]) for row in rows})
    ends = dict(pairwise(starts))
    date = str(np.datetime_as_string(time, "h")).replace("-", "").replace("T", "")
    wanted = {text: name for name, text in parameters.items()}
    parts = dict[str, Part]()
    for _, first, row_date, parameter, level, step, *_ in rows:
        name = wanted.get(f"{parameter}:{level}")
        if name is not None and step in _ANALYSIS_STEPS:
            if row_date != f"d={date}":
                raise OtherTimeError(f"its index is of {row_date[2:]} and not of {date}")
            start = int(first)
            parts.setdefault(name, Part(name, start, ends[start] - start if start in ends else None))
    return list(parts.values())


def read_json_lines(content: bytes, time: np.datetime64, parameters: Mapping[str, str]) -> list[Part]:
    """Return the parts of an index of ECMWF with the analyses of `parameters`, such as `10u`.

    Each line is an object with `date`, `time`, `step`, `param`, `levtype`, `_offset` and `_length`. A last line that is
    cut short is left out.
    """
    date, hour = str(np.datetime_as_string(time, "h")).replace("-", "").split("T")
    wanted = {text: name for name, text in parameters.items()}
    parts = dict[str, Part]()
    for line in _split(content):
        row = _parse(line)
        name = wanted.get(str(row.get("param")))
        if name is None or row.get("levtype") != "sfc" or str(row.get("step")) != "0":
            continue
        row_hour = str(row.get("time", "")).zfill(4)[:2]
        if (str(row.get("date")), row_hour) != (date, hour):
            raise OtherTimeError(f"its index is of {row.get('date')!s:.20} {row_hour} and not of {date} {hour}")
        first, length = row.get("_offset"), row.get("_length")
        if type(first) is not int or type(length) is not int or first < 0 or length < 1:
            raise IndexFormatError("its index has a message without a position")
        parts.setdefault(name, Part(name, first, length))
    return list(parts.values())


@dataclass(frozen=True)
class Message:
    """A message to request: first byte, length, and its variables, which are several if it has several fields."""

    first: int
    length: int
    variables: tuple[str, ...]


def find_messages(parts: Sequence[Part], size: int) -> list[Message]:
    """Return the messages of parts in the order of a file of `size` bytes, which ends the last one."""
    variables = dict[int, list[str]]()
    lengths = dict[int, int]()
    for part in parts:
        variables.setdefault(part.first, []).append(part.variable)
        lengths[part.first] = size - part.first if part.length is None else part.length
    return [Message(first, lengths[first], tuple(variables[first])) for first in sorted(variables)]


def join_messages(messages: Sequence[Message]) -> list[list[Message]]:
    """Return the messages in groups that follow each other without a gap, so that each group is one request."""
    groups: list[list[Message]] = []
    for message in messages:
        if groups and groups[-1][-1].first + groups[-1][-1].length == message.first:
            groups[-1].append(message)
        else:
            groups.append([message])
    return groups


def _split(content: bytes) -> list[str]:
    """Return the complete lines of an index."""
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        raise IndexFormatError("its index is no text") from error
    lines = text.split("\n")
    return [line for line in lines[:-1] if line.strip()]


def _parse(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise IndexFormatError("its index is none of ECMWF") from error
    if not isinstance(row, dict):
        raise IndexFormatError("its index is none of ECMWF")
    return row
