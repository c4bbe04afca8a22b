"""Checks of stored files: of chunks against their own checksums, of all files against a list that was made before.

The list is written when all files of a forecast are complete and none changes any more. Its own SHA-256 is kept in the
row of the forecast, so that no file can be replaced by another intact one without notice.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import google_crc32c
from numpy.typing import NDArray

from storage.paths import StoragePath
from weather.errors import DamagedError
from weather.stores.chunks import CHECKSUM_BYTES, ChunkFormat, is_chunk

FILE_LIST = "files.json"
"""Name of the list in the folder of a forecast."""

_PARALLEL_READS = 8
_MISSING = "is missing"
_MISMATCH = "is damaged: its checksum does not match its content"
_CHANGED = "is damaged: it is not the file that the complete forecast had"


class FileRecord(NamedTuple):
    """Size of a file and its CRC-32C: the one at the end of a chunk, of all before it; else that of the whole file.

    The CRC-32C of a whole chunk with its own at the end would be the same for all chunks.
    """

    size_bytes: int
    checksum: int


Files = Mapping[str, FileRecord | None]
"""Files that have to exist, by name; None if only the checksum at the end of the file itself is known."""


def list_files(folder: StoragePath, names: Iterable[str]) -> bytes:
    """Return the content of the list of some files in a folder; of a chunk only the end is read, and not checked."""

    def describe(name: str) -> FileRecord:
        path = folder / name
        with damage_of(name):
            if not is_chunk(name):
                return measure(name, [path.read_bytes()])
            stat = path.file_stat()
            if stat is None:
                raise FileNotFoundError(name)
            end = path.read_range(max(stat.size_bytes - CHECKSUM_BYTES, 0), stat.size_bytes)
            return FileRecord(stat.size_bytes, int.from_bytes(end, "little"))

    ordered = sorted(names)
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        records = dict(zip(ordered, pool.map(describe, ordered), strict=True))
    return json.dumps(records, separators=(",", ":")).encode()


def digest_of_list(content: bytes) -> str:
    """Return the digest by which a list is recognised."""
    return hashlib.sha256(content).hexdigest()


def read_file_list(folder: StoragePath, digest: str) -> Files:
    """Return the list in a folder; raises `DamagedError` if it is missing, or is not the one with this digest."""
    with damage_of(FILE_LIST):
        content = (folder / FILE_LIST).read_bytes()
    if digest_of_list(content) != digest:
        raise DamagedError(FILE_LIST, _CHANGED)
    return {name: FileRecord(*record) for name, record in json.loads(content).items()}


def measure(name: str, blocks: Iterable[bytes]) -> FileRecord:
    """Return size and checksum of a file; raises `DamagedError` if it is a chunk whose own checksum does not match."""
    checksum, size, end = 0, 0, b""
    end_bytes = CHECKSUM_BYTES if is_chunk(name) else 0
    for block in blocks:
        size += len(block)
        content = end + block if end else block
        split = max(len(content) - end_bytes, 0)
        checksum, end = google_crc32c.extend(checksum, content[:split]), content[split:]
    if end_bytes and (len(end) < end_bytes or int.from_bytes(end, "little") != checksum):
        raise DamagedError(name, _MISMATCH)
    return FileRecord(size, checksum)


def check_content(name: str, blocks: Iterable[bytes], expected: FileRecord | None) -> int:
    """Return the size of a file in bytes; raises `DamagedError` if its content is not as expected."""
    record = measure(name, blocks)
    if expected is not None and record != expected:
        raise DamagedError(name, _CHANGED)
    return record.size_bytes


def check_file(folder: StoragePath, name: str, expected: FileRecord | None) -> int:
    """Read a file of a folder and return its size; raises `DamagedError` if it is missing or not as expected."""
    with damage_of(name):
        stat = (folder / name).file_stat()
        if stat is None:
            raise FileNotFoundError(name)
        if expected is not None and stat.size_bytes != expected.size_bytes:
            raise DamagedError(name, _CHANGED)
        return check_content(name, (folder / name).read_blocks(0, stat.size_bytes), expected)


def read_chunk(store: StoragePath, chunks: ChunkFormat, *index: int, is_optional: bool = False) -> NDArray[Any]:
    """Return a chunk of a store in its whole shape; raises `DamagedError` if it cannot be read.

    Raises `FileNotFoundError` if an optional chunk is missing.
    """
    name = f"{store.name}/{chunks.key(*index)}"
    with damage_of(name, is_optional=is_optional):
        try:
            return chunks.read(store, *index)
        except (ValueError, RuntimeError) as error:
            raise DamagedError(name, f"is damaged: {error}") from error


@contextmanager
def damage_of(name: str, *, is_optional: bool = False) -> Iterator[None]:
    """Turn the error of a file that the block cannot read into `DamagedError`, unless the storage is not reached.

    An optional file that is missing stays a `FileNotFoundError`.
    """
    try:
        yield
    except ConnectionError:
        raise
    except FileNotFoundError as error:
        if is_optional:
            raise
        raise DamagedError(name, _MISSING) from error
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else "the storage reports an error"
        raise DamagedError(name, f"cannot be read: {cause}") from error
