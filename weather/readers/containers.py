"""Find out what a local file or folder is by its first bytes, and unpack zips, gzip and bzip2 files within limits."""

import bz2
import gzip
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, Literal, cast

from storage.errors import is_disk_full

Format = Literal["GRIB", "NetCDF", "Zarr", "zipped Zarr"]
Packing = Literal["gzip", "bzip2", "zip"]

ACCEPTED = "GRIB, NetCDF or Zarr, or one of them in a zip, gzip or bzip2 file"
DAMAGE = "The file may be damaged or cut short."
"""The end of every message about bytes that cannot be right."""
ZARR_METADATA = ("zarr.json", ".zgroup", ".zmetadata")
HEADER_BYTES = 4096
"""GRIB may start this far into a file: after WMO headers or padding."""
MAX_ARRAYS = 1000
"""Most arrays of a file or store: the libraries take about a millisecond for each, needed or not."""
MAX_ATTRIBUTES = 20_000
_BLOCK_BYTES = 1 << 20
_FREE_BYTES, _HEAD_BYTES = 1_000_000, 100_000_000
"""Bytes that a file may have whatever its growth, and by which its start may grow more than the rest."""
_NETCDF_MAGIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n")
_OTHER_FORMATS = (
    (b"BUFR", "BUFR, which holds observations"),
    (b"\x0e\x03\x13\x01", "HDF4"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip file"),
    (b"Rar!", "a RAR file"),
    (b"\x1f\x9d", "a file of the program compress (.Z)"),
    (b"%PDF", "PDF"),
    (b"\x89PNG", "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)


class SourceError(ValueError):
    """A source cannot be used; the message is a sentence that names it."""


class DamagedError(SourceError):
    """The bytes of a source cannot be right: they are damaged or cut short."""


class UnsupportedError(SourceError):
    """A source is of a kind that is not accepted."""


class TooLargeError(SourceError):
    """A source exceeds a limit of size or number."""


class FullDiskError(SourceError):
    """The disk is full while a source is unpacked."""


@dataclass(frozen=True)
class Limits:
    """Limits of unpacking: bytes of all unpacked files, growth of one file, number of members of a zip.

    A file may have a megabyte whatever its growth. Of a zip, at most `max_files` files and stores are read.
    """

    max_bytes: int = 4_000_000_000
    max_ratio: int = 200
    max_members: int = 20_000
    max_files: int = 200


@dataclass(frozen=True)
class Opened:
    """A source that can be parsed: format, local path or store's address, and the group of a store inside a zip.

    Messages call it `name`.
    """

    format: Format
    location: str
    group: str | None = None
    name: str = ""


class Unpacking:
    """The unpacking of one source into a folder, and what is left of the limits.

    The folder is the caller's, or a temporary one that `stack` removes.
    """

    def __init__(self, stack: ExitStack, limits: Limits | None = None, folder: Path | None = None) -> None:
        self.limits = limits or Limits()
        self._stack, self._remaining, self._num_files = stack, self.limits.max_bytes, 0
        self._folder = folder

    def new_path(self) -> Path:
        """Return the path of a file that does not exist yet."""
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="warmcast-source-")))
        self._num_files += 1
        return self._folder / f"{self._num_files}-content"

    def save(
        self,
        blocks: Iterator[bytes],
        name: str,
        packed_bytes: int,
        target: Path | None = None,
        consumed: Callable[[], int] | None = None,
    ) -> Path:
        """Write unpacked blocks to `target` or a new file, and return its path.

        `consumed` returns how many of the `packed_bytes` the blocks so far were unpacked from. Raises `TooLargeError`
        beyond a limit, and `FullDiskError`.
        """
        target, size, ratio = target or self.new_path(), 0, self.limits.max_ratio
        with target.open("wb", buffering=0) as file:
            for block in blocks:
                size += len(block)
                self._remaining -= len(block)
                packed = packed_bytes if consumed is None else min(consumed() + _HEAD_BYTES // ratio, packed_bytes)
                if size > max(_FREE_BYTES, ratio * packed):
                    raise TooLargeError(
                        f"`{name}` grows more than {ratio} times when it is unpacked, from {packed_bytes} bytes. "
                        "Unpack it yourself if that is right."
                    )
                if self._remaining < 0:
                    raise TooLargeError(
                        f"`{name}` has more than {self.limits.max_bytes} bytes when it is unpacked, the most that are "
                        "accepted. Select variables and times first."
                    )
                _write(file, block, name)
        return target


def _write(file: RawIOBase, block: bytes, name: str) -> None:
    remaining = memoryview(block)
    try:
        while remaining:
            remaining = remaining[file.write(remaining) :]
    except OSError as error:
        if is_disk_full(error):
            raise FullDiskError(f"The disk is full while `{name}` is unpacked.") from error
        raise


def detect_format(start: bytes) -> Literal["GRIB", "NetCDF"] | Packing | None:
    """Return the format or packing of a file by its first `HEADER_BYTES`, or None if it is not an accepted one."""
    if start.startswith(_NETCDF_MAGIC):
        return "NetCDF"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if start.startswith(b"\x1f\x8b"):
        return "gzip"
    if start.startswith(b"BZh"):
        return "bzip2"
    return "GRIB" if _has_grib(start) else None


def _has_grib(content: bytes) -> bool:
    """Return whether a GRIB message of edition 1 or 2 begins in the first bytes of a file."""
    position = content.find(b"GRIB")
    while position >= 0:
        if content[position + 7 : position + 8] in (b"\x01", b"\x02") or len(content) < position + 8:
            return True
        position = content.find(b"GRIB", position + 4)
    return False


def describe_unsupported(name: str, start: bytes, size: int) -> str:
    """Return the sentence for a file that is not of an accepted format, by its first bytes."""
    return f"`{name}` must be {ACCEPTED}. Got: {_describe_content(start, size)}."


def _describe_content(start: bytes, size: int) -> str:
    if size == 0:
        return "an empty file"
    for magic, description in _OTHER_FORMATS:
        if start.startswith(magic):
            return description
    if start[257:262] == b"ustar":
        return "a tar archive"
    if start.lstrip()[:1] == b"<":
        return f"an HTML or XML page of {size} bytes, perhaps the message of a server"
    is_text = not any(byte < 9 or 13 < byte < 32 for byte in start)
    return f"a {'text ' if is_text else ''}file of {size} bytes of neither"


def read_start(path: Path, name: str) -> bytes:
    """Return the first bytes of a file; raises `SourceError` if it cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(HEADER_BYTES)
    except OSError as error:
        raise SourceError(f"`{name}` cannot be opened: {error.strerror}.") from error


def decompress(path: Path, name: str, packing: str, unpacking: Unpacking) -> Path:
    """Decompress a gzip or bzip2 file and return the new file."""
    opener = gzip.open if packing == "gzip" else bz2.open
    try:
        with path.open("rb") as file, opener(file, "rb") as packed:
            return unpacking.save(read_blocks(cast(BinaryIO, packed)), name, path.stat().st_size, consumed=file.tell)
    except (EOFError, zlib.error, OSError) as error:
        raise DamagedError(f"`{name}` cannot be read as {packing}: {join_lines(error)}. {DAMAGE}") from error


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a file in blocks of a megabyte."""
    while block := file.read(_BLOCK_BYTES):
        yield block


def join_lines(error: Exception) -> str:
    """Return the message of an error as one line without a full stop and a path, or its kind if it has none."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (" ".join(message.split()) or type(error).__name__).rstrip(".")
