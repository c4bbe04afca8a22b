"""The structure of GRIB, looked at in Python before any library sees the bytes."""

from pathlib import Path

MAX_MESSAGES = 2000
MAX_POINTS = 2 * 1440 * 721
_FIRST_OF_FIELD = 2
_SECTIONS = range(1, 8)


def grib_problem(path: Path) -> str | None:
    """Return what is wrong with the structure of a GRIB file, or None.

    Messages must fill the file; in edition 2, sections must fill the message and grids must have as many points as
    rows times columns. Edition 1 is only cut into messages.
    """
    content = path.read_bytes()
    position = messages = 0
    while position < len(content):
        if content[position : position + 4] != b"GRIB":
            return f"there is no message at byte {position}"
        edition = content[position + 7] if position + 7 < len(content) else 0
        length = _number(content, position + 8, 8) if edition == 2 else _number(content, position + 4, 3)
        if edition not in (1, 2):
            return f"the message at byte {position} is of edition {edition}"
        end = position + length
        if length < 20 or end > len(content) or content[end - 4 : end] != b"7777":
            return f"the message at byte {position} is cut short"
        wrong = _sections_problem(content, position + 16, end - 4) if edition == 2 else None
        if wrong:
            return f"the message at byte {position} {wrong}"
        position, messages = end, messages + 1
        if messages > MAX_MESSAGES:
            return f"it has more than {MAX_MESSAGES} messages"
    return None if messages else "it is empty"


def _sections_problem(content: bytes, position: int, end: int) -> str | None:
    last, points = 0, -1
    while position < end:
        length, number = _number(content, position, 4), content[position + 4]
        if length < 5 or position + length > end:
            return f"has a section of {length} bytes"
        if number not in _SECTIONS or (number <= last and not (last == 7 and number >= _FIRST_OF_FIELD)):
            return f"has section {number} after {last}"
        if number == 3:
            if length < 14:
                return "has a grid section that is cut short"
            points = _number(content, position + 6, 4)
            if not 0 < points <= MAX_POINTS:
                return f"declares {points} points, and at most {MAX_POINTS} are taken"
            if _number(content, position + 12, 2) == 0:
                columns, rows = (_number(content, position + at, 4) for at in (30, 34))
                if length < 72 or columns * rows != points:
                    return f"declares {points} points on {columns} × {rows}"
        if number == 5 and _number(content, position + 5, 4) > max(points, 0):
            return "declares more values than points"
        position, last = position + length, number
    return None if last == 7 else "has no data section at its end"


def _number(content: bytes, position: int, size: int) -> int:
    return int.from_bytes(content[position : position + size])
