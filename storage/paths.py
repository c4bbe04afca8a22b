"""Paths of files and folders, on a disk or in object storage, behind one protocol."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PosixPath
from typing import Protocol, Self

from storage.atomic import PARTIAL_SUFFIX, create_folder, sync, write_bytes, write_bytes_if_absent


@dataclass(frozen=True)
class FileStat:
    """Size of a file and its entity tag, which changes whenever the content does."""

    size_bytes: int
    etag: str


class StoragePath(Protocol):
    """A file or a folder; `path / name` is inside the folder, and `name` may contain slashes.

    Every write is whole: readers find the complete file or none. Methods raise `OSError`, and `ConnectionError` if
    remote storage is not reached.
    """

    @property
    def name(self) -> str:
        """The last part of the path."""

    def __truediv__(self, name: str, /) -> Self: ...

    def exists(self) -> bool:
        """Return whether a file or a folder exists here."""

    def file_stat(self) -> FileStat | None:
        """Return size and entity tag of the file, or None if there is none."""

    def read_bytes(self) -> bytes:
        """Return the content of the file; raises `FileNotFoundError` if it does not exist."""

    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to, but not including, `stop` of the file; raises as `read_bytes`."""

    def read_blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes that `read_range` returns, in blocks; raises `FileNotFoundError` at the first."""

    def write(self, content: bytes | memoryview) -> None:
        """Write the file, replacing an existing one; missing parent folders are created."""

    def write_if_absent(self, content: bytes) -> None:
        """Write the file, unless it exists; an existing one is left as it is, without an error."""

    def create_folder(self, files: Mapping[str, bytes]) -> None:
        """Create the folder with `files`; the last of them becomes visible only when all others are.

        Raises `OSError` if the folder exists.
        """

    def link_or_copy(self, source: Self) -> None:
        """Make this file equal to `source`, which is in the same storage, unless this file exists."""

    def sync(self) -> None:
        """Flush the file, and every earlier rename, to storage that survives a crash of the machine."""

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield relative name and size in bytes of every whole file in the folder and its subfolders."""

    def remove_partial_files(self, unchanged_seconds: float = 0.0) -> None:
        """Remove the temporary files of writes that ended long ago, of which killed processes leave some.

        Those that changed within the last `unchanged_seconds` may still be being written; 0 is for the single writer
        of a folder.
        """

    def folders(self) -> Iterator[Self]:
        """Yield the immediate subfolders."""

    def modified_time(self) -> float:
        """Return when the folder last got a new entry, in seconds since 1970."""

    def move(self, target: Self) -> None:
        """Move the folder with its content to `target`, which is in the same storage and does not exist."""

    def remove(self) -> None:
        """Remove the file, or the folder with its content; do nothing if there is none."""

    def free_bytes(self) -> float:
        """Return the free bytes of the storage that the path is in; infinity if it has no limit."""


_BLOCK_BYTES = 1 << 20


class DiskPath(PosixPath):
    """A `StoragePath` on a disk; usable as an ordinary `pathlib.Path`."""

    def file_stat(self) -> FileStat | None:
        """Return size and entity tag of the file, or None if there is none."""
        if not self.is_file():
            return None
        stat = self.stat()
        return FileStat(stat.st_size, f"{stat.st_mtime_ns:x}-{stat.st_size:x}")

    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to, but not including, `stop` of the file."""
        with self.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def read_blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes that `read_range` returns, in blocks of 1 MiB, even if the file is removed meanwhile."""
        with self.open("rb") as file:
            file.seek(start)
            while block := file.read(min(_BLOCK_BYTES, stop - file.tell())):
                yield block

    def write(self, content: bytes | memoryview) -> None:
        """Write the file, replacing an existing one; its content is flushed to the disk, its name by `sync`."""
        write_bytes(self, content, sync_folder=False)

    def write_if_absent(self, content: bytes) -> None:
        """Write the file under a temporary name and link it, unless it exists."""
        write_bytes_if_absent(self, content)

    def create_folder(self, files: Mapping[str, bytes]) -> None:
        """Create the folder with `files` by one rename."""
        create_folder(self, files)

    def link_or_copy(self, source: Path) -> None:
        """Make this file a hard link to `source`, unless it exists."""
        with suppress(FileExistsError):
            try:
                os.link(source, self)
            except FileNotFoundError:
                self.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, self)

    def sync(self) -> None:
        """Flush the file to the disk; a journalling file system then also keeps every earlier rename."""
        sync(self)

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield relative name and size in bytes of every file but temporary ones and those removed meanwhile."""
        for path in self._walk():
            if not path.name.endswith(PARTIAL_SUFFIX):
                with suppress(FileNotFoundError):
                    yield str(path.relative_to(self)), path.stat().st_size

    def remove_partial_files(self, unchanged_seconds: float = 0.0) -> None:
        """Remove temporary files that have not changed for `unchanged_seconds`, by the clock of this machine."""
        for path in self._walk():
            if path.name.endswith(PARTIAL_SUFFIX):
                with suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime >= unchanged_seconds:
                        path.unlink()

    def _walk(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self):
            yield from (Path(folder, name) for name in names)

    def folders(self) -> Iterator[Self]:
        """Yield the immediate subfolders; none if the folder does not exist."""
        return (path for path in self.glob("*") if path.is_dir())

    def modified_time(self) -> float:
        """Return when an entry was last added to or removed from the folder, in seconds since 1970.

        Raises `FileNotFoundError` if there is no folder.
        """
        return self.stat().st_mtime

    def move(self, target: Path) -> None:
        """Rename the folder; the parent of `target` is created if it is missing. Raises `OSError` if that exists."""
        target.parent.mkdir(parents=True, exist_ok=True)
        self.rename(target)

    def remove(self) -> None:
        """Remove the file, or the folder with its content; files that cannot be removed are left without an error."""
        if self.is_dir():
            shutil.rmtree(self, ignore_errors=True)
        else:
            self.unlink(missing_ok=True)

    def free_bytes(self) -> float:
        """Return the free bytes of the disk; the parent folder is created if it is missing."""
        self.parent.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.parent).free


def storage_path(path: Path | StoragePath) -> StoragePath:
    """Return a `pathlib.Path` as a `StoragePath`; a `StoragePath` is returned unchanged."""
    return DiskPath(path) if isinstance(path, Path) and not isinstance(path, DiskPath) else path
