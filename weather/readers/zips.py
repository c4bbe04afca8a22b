"""Check zips before anything is unpacked, and find the Zarr stores and files in them."""

import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from weather.readers.containers import (
    DAMAGE,
    ZARR_METADATA,
    DamagedError,
    Limits,
    SourceError,
    TooLargeError,
    UnsupportedError,
    join_lines,
)

_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError, OSError)
_FREE_BYTES = 1_000_000
_MAX_DEPTH = 50
_MAX_ENTRY_BYTES = 500
"""Most bytes that an entry of the directory may have on average: 46 and the name of the member."""
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_BYTES, _END_64_BYTES, _LOCATOR_BYTES, _MAX_COMMENT_BYTES = 22, 56, 20, 0xFFFF


@dataclass(frozen=True)
class ZipContents:
    """What a zip holds: the folders that are Zarr stores ("" is the zip itself), and the files outside of them."""

    stores: Sequence[str]
    files: Sequence[zipfile.ZipInfo]


@contextmanager
def open_zip(path: Path, name: str, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """Yield a zip whose number of members, names, sizes and kinds of members are within the limits.

    The number is read before the directory is. Raises `SourceError`; errors of damaged bytes in the block become
    `DamagedError`.
    """
    try:
        _check_directory(path, name, limits)
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), name, path.stat().st_size, limits)
            yield archive
    except SourceError:
        raise
    except _ERRORS as error:
        raise DamagedError(f"`{name}` cannot be read as a zip: {join_lines(error)}. {DAMAGE}") from error


def list_contents(archive: zipfile.ZipFile) -> ZipContents:
    """Return what a zip holds; what macOS adds is left out."""
    members = [member for member in archive.infolist() if not member.is_dir() and not _is_hidden(member.filename)]
    folders = {member.filename.rpartition("/")[0] for member in members if _is_metadata(member.filename)}
    stores = sorted(folder for folder in folders if not any(_is_inside(folder, other) for other in folders))
    files = [
        member for member in members if not any(store == "" or _is_inside(member.filename, store) for store in stores)
    ]
    return ZipContents(stores, files)


def printable(text: str) -> str:
    """Return the name of a member for a message: at most 80 characters, without control characters."""
    return "".join(character if character.isprintable() else "?" for character in text[:80])


def _is_inside(path: str, folder: str) -> bool:
    return path != folder and path.startswith(f"{folder}/" if folder else "")


def _is_metadata(member: str) -> bool:
    return member.rpartition("/")[2] in ZARR_METADATA


def _is_hidden(member: str) -> bool:
    *folders, name = member.split("/")
    return "__MACOSX" in folders or name == ".DS_Store" or name.startswith("._")


def _check_directory(path: Path, name: str, limits: Limits) -> None:
    """Raise `TooLargeError` if the record at the end declares too many members or too long a directory."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for count, directory_bytes in _read_end_records(file, size):
            if count > limits.max_members or directory_bytes > limits.max_members * _MAX_ENTRY_BYTES:
                raise TooLargeError(
                    f"`{name}` has {count} members in a directory of {directory_bytes} bytes. At most "
                    f"{limits.max_members} members are accepted: choose larger chunks, or select variables and times "
                    "first."
                )


def _read_end_records(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield number of members and bytes of the directory from each record at the end of a zip of `size` bytes."""
    file.seek(max(size - _END_BYTES - _MAX_COMMENT_BYTES, 0))
    start, tail = file.tell(), file.read()
    position = tail.rfind(_END)
    if position < 0:
        return
    large = list(_read_large_records(file, size, start + position))
    yield from large
    count, directory_bytes = _integer(tail, position + 10, 2), _integer(tail, position + 12, 4)
    yield 0 if large and count == 0xFFFF else count, 0 if large and directory_bytes == 0xFFFFFFFF else directory_bytes


def _read_large_records(file: BinaryIO, size: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the same from the records for large zips before the position `end`: where the locator says, and before it.

    Readers differ in which one they take.
    """
    if end < _LOCATOR_BYTES:
        return
    file.seek(end - _LOCATOR_BYTES)
    locator = file.read(_LOCATOR_BYTES)
    if locator[:4] != _LOCATOR_64:
        return
    for offset in (_integer(locator, 8, 8), end - _LOCATOR_BYTES - _END_64_BYTES):
        if 0 <= offset < size:
            file.seek(offset)
            record = file.read(_END_64_BYTES)
            if record[:4] == _END_64:
                yield _integer(record, 32, 8), _integer(record, 40, 8)


def _integer(content: bytes, position: int, size: int) -> int:
    return int.from_bytes(content[position : position + size], "little")


def _check_members(members: Sequence[zipfile.ZipInfo], name: str, size: int, limits: Limits) -> None:
    if not members:
        raise UnsupportedError(f"`{name}` is a zip without any file.")
    if len(members) > limits.max_members:
        raise TooLargeError(f"`{name}` has {len(members)} members, and at most {limits.max_members} are accepted.")
    if sum(member.compress_size for member in members) > size:
        raise DamagedError(f"`{name}`: its members overlap. {DAMAGE}")
    total = sum(member.file_size for member in members)
    if total > limits.max_bytes:
        raise TooLargeError(
            f"`{name}` has {total} bytes when it is unpacked, and at most {limits.max_bytes} are accepted. Select "
            "variables and times first."
        )
    for member in members:
        problem = _find_member_problem(member, limits)
        if problem:
            error = TooLargeError if problem.startswith("grows") else UnsupportedError
            raise error(f"`{name}`: its member `{printable(member.filename)}` {problem}.")


def _find_member_problem(member: zipfile.ZipInfo, limits: Limits) -> str | None:
    parts = member.filename.removesuffix("/").split("/")
    if "\\" in member.filename or not {"", ".."}.isdisjoint(parts):
        return "must be named by a path inside the zip, without `..`"
    if len(parts) > _MAX_DEPTH:
        return f"must be at most {_MAX_DEPTH} folders deep"
    if not member.is_dir() and stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return "must be a file. Got: a link or a device"
    if member.flag_bits & 1:
        return "must not be encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"must be stored, or compressed by deflate. Got: method {member.compress_type}"
    if member.file_size > max(_FREE_BYTES, limits.max_ratio * member.compress_size):
        return f"grows more than {limits.max_ratio} times when it is unpacked"
    return None
