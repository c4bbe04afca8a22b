"""Check the structure of untrusted GRIB files in Python, before any parsing library gets the bytes."""

import mmap
from pathlib import Path

from weather.readers.containers import DAMAGE, DamagedError, TooLargeError, UnsupportedError

MAX_FIELDS = 2000
"""Most fields of a file: ecCodes takes up to three milliseconds for the header of each."""
MAX_POINTS = 2 * 1440 * 721
_FIRST_REPEATABLE_SECTION, _GRID_SECTION, _PACKING_SECTION, _DATA_SECTION = 2, 3, 5, 7
_SECTIONS = range(1, 8)
_LARGE_MESSAGE = 1 << 23
"""Bit of the length of a GRIB 1 message by which ECMWF marks those of more than 8 MB."""


def check_grib(path: Path, name: str) -> None:
    """Raise `SourceError` if the structure of a GRIB file is refused.

    Bytes before, between and after messages are skipped. In edition 2, sections must fill each message, and a grid must
    have as many points as rows times columns; in edition 1, only the lengths of the messages are checked.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        position, fields = content.find(b"GRIB"), 0
        while position >= 0:
            label = f"`{name}`: the message at byte {position}"
            end = _find_end(content, position, label)
            fields += _check_sections(content, position + 16, end - 4, label) if content[position + 7] == 2 else 1
            if fields > MAX_FIELDS:
                raise TooLargeError(f"`{name}` has more than {MAX_FIELDS} fields. Select variables and times first.")
            position = content.find(b"GRIB", end)
    if not fields:
        raise DamagedError(f"`{name}` has no GRIB message. {DAMAGE}")


def _find_end(content: mmap.mmap, position: int, label: str) -> int:
    """Return the position after a message, whose length must be that of its bytes."""
    edition = content[position + 7] if position + 7 < len(content) else 0
    length = _integer(content, position + 8, 8) if edition == 2 else _integer(content, position + 4, 3)
    end = position + length
    if edition not in (1, 2) and position + 8 <= len(content):
        raise UnsupportedError(f"{label} is of edition {edition} of GRIB, and 1 and 2 are accepted.")
    if edition == 1 and length & _LARGE_MESSAGE:
        raise TooLargeError(f"{label} has more than 8 MB, and at most {MAX_POINTS} points are accepted.")
    if length < 20 or end > len(content) or content[end - 4 : end] != b"7777":
        raise DamagedError(f"{label} is cut short. {DAMAGE}")
    return end


def _check_sections(content: mmap.mmap, position: int, end: int, label: str) -> int:
    """Check the sections of a message of edition 2 and return the number of its fields."""
    previous, points, fields = 0, -1, 0
    while position < end:
        length, section = _integer(content, position, 4), content[position + 4]
        if length < 5 or position + length > end:
            raise DamagedError(f"{label} has a section of {length} bytes. {DAMAGE}")
        repeats = previous == _DATA_SECTION and section >= _FIRST_REPEATABLE_SECTION
        if section not in _SECTIONS or (section <= previous and not repeats):
            raise DamagedError(f"{label} has section {section} after {previous}. {DAMAGE}")
        if section == _GRID_SECTION:
            points = _check_grid(content, position, length, label)
        if section == _PACKING_SECTION and _integer(content, position + 5, 4) > max(points, 0):
            raise DamagedError(f"{label} declares more values than points. {DAMAGE}")
        position, previous, fields = position + length, section, fields + (section == _DATA_SECTION)
        if fields > MAX_FIELDS:
            raise TooLargeError(f"{label} has more than {MAX_FIELDS} fields. Select variables and times first.")
    if previous != _DATA_SECTION:
        raise DamagedError(f"{label} has no data section at its end. {DAMAGE}")
    return fields


def _check_grid(content: mmap.mmap, position: int, length: int, label: str) -> int:
    """Check a grid section and return its number of points."""
    if length < 14:
        raise DamagedError(f"{label} has a grid section that is cut short. {DAMAGE}")
    points = _integer(content, position + 6, 4)
    if not 0 < points <= MAX_POINTS:
        raise TooLargeError(f"{label} declares {points} points, and at most {MAX_POINTS} are accepted.")
    is_latitude_longitude = _integer(content, position + 12, 2) == 0
    columns, rows = (_integer(content, position + offset, 4) for offset in (30, 34))
    is_reduced = 0xFFFFFFFF in (columns, rows)
    if is_latitude_longitude and (length < 72 or (columns * rows != points and not is_reduced)):
        raise DamagedError(f"{label} declares {points} points on {columns} × {rows}. {DAMAGE}")
    return points


def _integer(content: mmap.mmap, position: int, size: int) -> int:
    """Return the big-endian integer of `size` bytes at `position`."""
    return int.from_bytes(content[position : position + size])
