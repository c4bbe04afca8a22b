"""Build the zip of an ensemble: once, as a file on a disk, or for each response, as a stream from object storage."""

import io
import threading
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio

from storage.atomic import PARTIAL_SUFFIX, replace_file
from storage.lock import lock_file
from storage.paths import StoragePath, storage_path
from storage.sums import matches_sum, sum_path, write_sum
from weather.errors import DamagedError, StorageFullError
from weather.stores.checks import Files, check_content, damage_of
from weather.stores.layout import ENSEMBLE

BUILDERS = anyio.CapacityLimiter(4)
"""Limits the threads that build or check a zip."""

_FILE_MODE = 0o644 << 16
_PREFIX = f"{ENSEMBLE}/"


class CheckedZips:
    """The zips whose content this process has checked last, by their paths and entity tags."""

    def __init__(self, number: int) -> None:
        self._checked: deque[tuple[Path, str]] = deque(maxlen=number)
        self._lock = threading.Lock()

    def contains(self, path: Path) -> bool:
        """Return whether the file that exists now was checked."""
        with self._lock:
            return (path, _version(path)) in self._checked

    def add(self, path: Path) -> None:
        """Remember that the file that exists now is checked."""
        with self._lock:
            self._checked.append((path, _version(path)))


_CHECKED = CheckedZips(1000)


def _version(path: Path) -> str:
    stat = storage_path(path).file_stat()
    return "" if stat is None else stat.etag


def zip_path(folder: Path) -> Path:
    """Return the path of the zip of the ensemble in a forecast's folder."""
    return folder / f"{ENSEMBLE}.zip"


def is_ready(folder: Path) -> bool:
    """Return whether the zip exists and this process has checked it since it was written."""
    path = zip_path(folder)
    return path.is_file() and _CHECKED.contains(path)


def build_zip(
    folder: Path, find_files: Callable[[], Files], check: Callable[[], None], reserved_bytes: Callable[[], int] = int
) -> Path:
    """Build the zip of the ensemble in a forecast's folder, unless it exists undamaged, and return its path.

    One thread of one process builds it; all others wait, and return the same file. It holds those of the files that
    `find_files` returns that are in the ensemble store. `check`, called at the end, raises an error if the data was
    deleted meanwhile; there is no zip then. Raises `StorageFullError` if the disk has too little space besides the
    `reserved_bytes` (by default 0) that other data needs, and
    `DamagedError` if a file of the store is.
    """
    path = zip_path(folder)
    try:
        with lock_file(folder / f".{path.name}.lock"):
            if not is_ready(folder):
                if not matches_sum(path):
                    _build(storage_path(folder), find_files(), path, check, reserved_bytes())
                _CHECKED.add(path)
    except FileNotFoundError:
        check()
        raise
    return path


def _build(folder: StoragePath, files: Files, path: Path, check: Callable[[], None], reserved_bytes: int) -> None:
    """Write the zip of a store to `path`, whose lock the caller holds, unless `check` then raises an error."""
    for abandoned in path.parent.glob(f".{path.name}.*{PARTIAL_SUFFIX}"):
        abandoned.unlink(missing_ok=True)
    size, free = sum(size for _, size in (folder / ENSEMBLE).files()), folder.free_bytes()
    if size > free - reserved_bytes:
        raise StorageFullError(
            f"The zip needs {size / 1e6:.1f} MB, but of {free / 1e6:.1f} MB that are free, {reserved_bytes / 1e6:.1f} "
            "MB are reserved for forecasts that were accepted before. Read the store by its URL, or delete other "
            "forecasts."
        )
    storage_path(path).remove()
    sum_path(path).unlink(missing_ok=True)
    with replace_file(path) as partial:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for _ in _add_files(folder, files, archive):
                pass
        write_sum(partial, sum_path(path))
        check()


def stream_zip(folder: StoragePath, files: Files) -> Iterator[bytes]:
    """Yield the bytes of a zip of the ensemble in a forecast's folder, holding one of its files in memory at a time.

    Raises `DamagedError` at the first if a file has another size than it should have, and later if its content is
    damaged; the zip is then without its end.
    """
    sizes = dict((folder / ENSEMBLE).files())
    for name in _names(files):
        expected, size = files[f"{_PREFIX}{name}"], sizes.get(name)
        if size is None or (expected is not None and size != expected.size_bytes):
            raise DamagedError(f"{_PREFIX}{name}", "is missing" if size is None else "is damaged: its size is wrong")
    yield b""
    buffer = _ZipBuffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for _ in _add_files(folder, files, archive):
            yield buffer.drain()
    yield buffer.drain()


def _names(files: Files) -> list[str]:
    return sorted(name.removeprefix(_PREFIX) for name in files if name.startswith(_PREFIX))


def _add_files(folder: StoragePath, files: Files, archive: zipfile.ZipFile) -> Iterator[None]:
    """Add the files of the ensemble store after checking each; yield after each."""
    for name in _names(files):
        path = f"{_PREFIX}{name}"
        with damage_of(path):
            content = (folder / path).read_bytes()
        check_content(path, [content], files[path])
        entry = zipfile.ZipInfo(name)
        entry.external_attr = _FILE_MODE
        archive.writestr(entry, content)
        yield


class _ZipBuffer(io.RawIOBase):
    """A file object that collects the bytes `zipfile` appends, until they are drained."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override] # zipfile writes nothing but bytes
        self._written += content
        return len(content)

    def drain(self) -> bytes:
        """Return and remove the bytes written since the last call."""
        content, self._written = bytes(self._written), bytearray()
        return content
