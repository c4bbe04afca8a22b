"""Checks of the structure of untrusted GRIB files and zips, in Python, before any parsing library gets the bytes."""

import json
import math
import re
import stat
import zipfile
from pathlib import Path
from typing import Any

MAX_MESSAGES = 2000
MAX_POINTS = 2 * 1440 * 721
_FIRST_REPEATABLE_SECTION, _GRID_SECTION, _PACKING_SECTION, _DATA_SECTION = 2, 3, 5, 7
_SECTIONS = range(1, 8)

MAX_MEMBERS = 20_000
MAX_BYTES = 4_000_000_000
MAX_RATIO = 200
MAX_JSON_BYTES = 1_000_000
MAX_ARRAY_BYTES = 2_000_000_000

_MEMBER_NAME = re.compile(r"(?:[\w.-]+/)*[\w.-]+/?")
_METADATA = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
_TYPES = re.compile(r"[<>|]?(?:f4|f8|i2|i4|i8|u1)|float32|float64|int16|int32|int64|uint8|bool")
_CODECS = {"bytes", "zstd", "gzip", "zlib", "blosc", "crc32c", "numcodecs.zstd", "numcodecs.blosc", "numcodecs.zlib"}
_ZIP_ERRORS = (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, OSError, RecursionError)


def find_grib_problem(path: Path) -> str | None:
    """Return why the structure of a GRIB file is refused, or None.

    Messages must fill the file. In edition 2, sections must fill each message, and a grid must have as many points as
    rows times columns; in edition 1, only the lengths of the messages are checked.
    """
    content = path.read_bytes()
    position = messages = 0
    while position < len(content):
        if content[position : position + 4] != b"GRIB":
            return f"there is no message at byte {position}"
        edition = content[position + 7] if position + 7 < len(content) else 0
        length = _integer(content, position + 8, 8) if edition == 2 else _integer(content, position + 4, 3)
        if edition not in (1, 2):
            return f"the message at byte {position} is of edition {edition}"
        end = position + length
        if length < 20 or end > len(content) or content[end - 4 : end] != b"7777":
            return f"the message at byte {position} is cut short"
        problem = _sections_problem(content, position + 16, end - 4) if edition == 2 else None
        if problem:
            return f"the message at byte {position} {problem}"
        position, messages = end, messages + 1
        if messages > MAX_MESSAGES:
            return f"it has more than {MAX_MESSAGES} messages"
    return None if messages else "it is empty"


def _sections_problem(content: bytes, position: int, end: int) -> str | None:
    previous, points = 0, -1
    while position < end:
        length, section = _integer(content, position, 4), content[position + 4]
        if length < 5 or position + length > end:
            return f"has a section of {length} bytes"
        repeats = previous == _DATA_SECTION and section >= _FIRST_REPEATABLE_SECTION
        if section not in _SECTIONS or (section <= previous and not repeats):
            return f"has section {section} after {previous}"
        if section == _GRID_SECTION:
            problem = _grid_problem(content, position, length)
            if problem:
                return problem
            points = _integer(content, position + 6, 4)
        if section == _PACKING_SECTION and _integer(content, position + 5, 4) > max(points, 0):
            return "declares more values than points"
        position, previous = position + length, section
    return None if previous == _DATA_SECTION else "has no data section at its end"


def _grid_problem(content: bytes, position: int, length: int) -> str | None:
    if length < 14:
        return "has a grid section that is cut short"
    points = _integer(content, position + 6, 4)
    if not 0 < points <= MAX_POINTS:
        return f"declares {points} points, and at most {MAX_POINTS} are accepted"
    is_latitude_longitude = _integer(content, position + 12, 2) == 0
    columns, rows = (_integer(content, position + offset, 4) for offset in (30, 34))
    if is_latitude_longitude and (length < 72 or columns * rows != points):
        return f"declares {points} points on {columns} × {rows}"
    return None


def _integer(content: bytes, position: int, size: int) -> int:
    """Return the big-endian integer of `size` bytes at `position`."""
    return int.from_bytes(content[position : position + size])


def find_zip_problem(path: Path) -> str | None:
    """Return why a zip is refused as a Zarr store, or None.

    Zarr's own writer may store two members of one name: every member is checked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            problem = _members_problem(members)
            for member in members:
                problem = problem or _metadata_file_problem(archive, member)
            return problem
    except _ZIP_ERRORS as error:
        return f"it cannot be read: {error}"


def _members_problem(members: list[zipfile.ZipInfo]) -> str | None:
    if len(members) > MAX_MEMBERS:
        return f"it has {len(members)} members, and at most {MAX_MEMBERS} are accepted"
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        return f"it would have {total} bytes, and at most {MAX_BYTES} are accepted"
    for member in members:
        if ".." in member.filename.split("/") or not _MEMBER_NAME.fullmatch(member.filename):
            return f"its member {member.filename[:80]!r} is not a key of a Zarr store"
        if stat.S_ISLNK(member.external_attr >> 16):
            return f"its member {member.filename!r} is a link"
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"its member {member.filename!r} is encrypted, or not compressed by deflate"
        if member.file_size > MAX_RATIO * max(member.compress_size, 1000):
            return f"its member {member.filename!r} grows more than {MAX_RATIO} times when it is decompressed"
    return None


def _metadata_file_problem(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str | None:
    if member.filename.rsplit("/", 1)[-1] not in _METADATA:
        return None
    if member.file_size > MAX_JSON_BYTES:
        return f"`{member.filename}` has {member.file_size} bytes, and at most {MAX_JSON_BYTES} are accepted"
    problem = _metadata_problem(json.loads(archive.read(member)))
    return f"`{member.filename}` {problem}" if problem else None


def _metadata_problem(metadata: Any) -> str | None:
    """Return why Zarr metadata of version 2 or 3 is refused, or None; consolidated metadata is checked too."""
    if not isinstance(metadata, dict):
        return "is not a JSON object"
    inner = metadata.get("consolidated_metadata")
    consolidated = (inner.get("metadata") if isinstance(inner, dict) else None) or (
        metadata.get("metadata") if "zarr_consolidated_format" in metadata else None
    )
    for part in (consolidated or {}).values() if isinstance(consolidated, dict | None) else ():
        problem = _metadata_problem(part) if isinstance(part, dict) else None
        if problem:
            return problem
    return _array_problem(metadata) if "shape" in metadata else None


def _array_problem(array: dict[str, Any]) -> str | None:
    kind = array.get("data_type", array.get("dtype"))
    if not isinstance(kind, str) or not _TYPES.fullmatch(kind):
        return f"declares the type {kind!r}; floats of 4 or 8 bytes and integers of 1 to 8 bytes are accepted"
    chunks = array.get("chunks", (array.get("chunk_grid") or {}).get("configuration", {}).get("chunk_shape"))
    for shape in (array["shape"], chunks):
        if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
            return f"declares the shape {shape!r}"
        if 8 * math.prod(shape) > MAX_ARRAY_BYTES:
            return f"declares an array or chunk of shape {shape}, and at most {MAX_ARRAY_BYTES} bytes are accepted"
    return _codecs_problem(array.get("codecs") or [array.get("compressor"), *(array.get("filters") or [])], depth=0)


def _codecs_problem(codecs: Any, depth: int) -> str | None:
    for codec in codecs if isinstance(codecs, list) else [codecs]:
        if codec is None:
            continue
        name = codec.get("name", codec.get("id")) if isinstance(codec, dict) else codec
        if name == "sharding_indexed" and depth == 0:
            inner = codec.get("configuration", {})
            problem = _codecs_problem([*inner.get("codecs", []), *inner.get("index_codecs", [])], depth=1)
            if problem:
                return problem
        elif name not in _CODECS:
            return f"names the codec {name!r}; {', '.join(sorted(_CODECS))} are accepted"
    return None
