"""Build the zip of an ensemble: once, as a file on a disk, or for each response, as a stream from object storage."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio

from storage.atomic import PARTIAL_SUFFIX, replace_file
from storage.lock import lock_file
from storage.paths import StoragePath, storage_path
from weather.errors import StorageFullError
from weather.stores.layout import ENSEMBLE

BUILDERS = anyio.CapacityLimiter(4)
"""Limits the threads that build a zip or wait for one; further requests wait without a thread."""

_FILE_MODE = 0o644 << 16


def zip_path(folder: Path) -> Path:
    """Return the path of the zip of the ensemble in a forecast's folder."""
    return folder / f"{ENSEMBLE}.zip"


def build_zip(folder: Path, check: Callable[[], None]) -> Path:
    """Build the zip of the ensemble in a forecast's folder if it does not exist, and return its path.

    One thread of one process builds it; all others wait, and return the same file. `check`, called at the end, raises
    an error if the data was deleted meanwhile; the zip is then removed. Raises `StorageFullError` if the disk has too
    little space.
    """
    path = zip_path(folder)
    try:
        with lock_file(folder / f".{path.name}.lock"):
            if not path.exists():
                _build(storage_path(folder / ENSEMBLE), path, check)
    except FileNotFoundError:
        check()
        raise
    return path


def _build(store: StoragePath, path: Path, check: Callable[[], None]) -> None:
    """Write the zip of a store to `path`, whose lock the caller holds; remove it if `check` then raises an error."""
    for abandoned in path.parent.glob(f".{path.name}.*{PARTIAL_SUFFIX}"):
        abandoned.unlink(missing_ok=True)
    size, free = sum(size for _, size in store.files()), store.free_bytes()
    if size > free:
        raise StorageFullError(
            f"The zip needs {size / 1e6:.1f} MB, but {free / 1e6:.1f} MB are free. Read the store by its URL, or "
            "delete other forecasts."
        )
    with replace_file(path) as partial:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for _ in _add_files(store, archive):
                pass
        check()


def stream_zip(store: StoragePath) -> Iterator[bytes]:
    """Yield the bytes of a zip of a store, holding one of its files in memory at a time."""
    buffer = _ZipBuffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for _ in _add_files(store, archive):
            yield buffer.drain()
    yield buffer.drain()


def _add_files(store: StoragePath, archive: zipfile.ZipFile) -> Iterator[None]:
    """Add all files of a store except temporary ones; yield after each."""
    for name in sorted(name for name, _ in store.files() if not name.endswith(PARTIAL_SUFFIX)):
        entry = zipfile.ZipInfo(name)
        entry.external_attr = _FILE_MODE
        archive.writestr(entry, (store / name).read_bytes())
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
