"""Where files lie: a folder of a disk, or object storage (`weather.objects`), to those who do not mind which."""

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PosixPath
from typing import Any, Protocol, Self


@dataclass(frozen=True)
class Facts:
    """What is known of a file before it is read; its `etag` is another one once it has changed."""

    size_bytes: int
    etag: str


class Place(Protocol):
    """A file or a folder by its name; what is in a folder lies at `place / name`, and names may have slashes.

    A file is there whole or not at all. Storage that does not answer raises an `OSError`: `ConnectionError` where it is
    beyond this machine.
    """

    @property
    def name(self) -> str:
        """Return the last part of its name."""

    def __truediv__(self, name: str, /) -> Self: ...

    def exists(self) -> bool:
        """Tell whether a file or a folder is here."""

    def look(self) -> Facts | None:
        """Return what is known of the file; None where there is none."""

    def read_bytes(self) -> bytes:
        """Return the content of the file; raises `FileNotFoundError` where there is none."""

    def read_range(self, start: int, stop: int) -> bytes:
        """Return a part of the file; raises `FileNotFoundError` where there is none."""

    def write(self, content: bytes | memoryview) -> None:
        """Write the file, over what was there."""

    def put(self, content: bytes) -> None:
        """Write the file; where something is here already, it stays."""

    def create(self, files: Mapping[str, bytes]) -> None:
        """Make a folder with these files; nobody finds its last one without the others."""

    def take(self, other: Self) -> None:
        """Make this file the same as another one of this storage; where something is here already, it stays."""

    def sync(self) -> None:
        """Bring what was written into this file to where it outlives the machine."""

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield name and bytes of each file in the folder and in those below it."""

    def folders(self) -> Iterator[Self]:
        """Yield the folders right in this one."""

    def changed(self) -> float:
        """Return when something last came into this folder, in seconds since the epoch."""

    def remove(self) -> None:
        """Remove the file or the folder; where there is none, do nothing."""

    def free_bytes(self) -> float:
        """Return how much can be stored where this will be."""

    def zarr(self) -> Any:
        """Return the folder as what zarr takes for a store."""


class DiskPlace(PosixPath):
    """A `Place` on a disk, and a path like any other."""

    def look(self) -> Facts | None:
        """Return what is known of the file; None where there is none."""
        if not self.is_file():
            return None
        found = self.stat()
        return Facts(found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}")

    def read_range(self, start: int, stop: int) -> bytes:
        """Return a part of the file."""
        with self.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def write(self, content: bytes | memoryview) -> None:
        """Write the file beside and rename it."""
        os.replace(self._built(content), self)

    def put(self, content: bytes) -> None:
        """Write the file beside and link it."""
        building = self._built(content)
        try:
            self.take(building)
        finally:
            building.unlink(missing_ok=True)

    def create(self, files: Mapping[str, bytes]) -> None:
        """Make a folder with these files; it appears at once or not at all."""
        self.parent.mkdir(parents=True, exist_ok=True)
        building = self.with_name(f".{self.name}.{uuid.uuid4().hex}")
        try:
            for name, content in files.items():
                path = building / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            for path in (*building.rglob("*"), building):
                path.sync()
            os.replace(building, self)
            self.parent.sync()
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def take(self, other: Path) -> None:
        """Become another name of the same file."""
        with suppress(FileExistsError):
            try:
                os.link(other, self)
            except FileNotFoundError:
                self.parent.mkdir(parents=True, exist_ok=True)
                os.link(other, self)

    def sync(self) -> None:
        """Bring a file or a folder to the disk itself, so that what is written later never outlives it."""
        descriptor = os.open(self, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield name and bytes of each file below."""
        for folder, _, names in os.walk(self):
            for name in names:
                path = Path(folder, name)
                yield str(path.relative_to(self)), path.stat().st_size

    def folders(self) -> Iterator[Self]:
        """Yield the folders right in this one."""
        return (path for path in self.glob("*") if path.is_dir())

    def changed(self) -> float:
        """Return when something last came into this folder itself."""
        return self.stat().st_mtime

    def remove(self) -> None:
        """Remove what can be removed."""
        if self.is_dir():
            shutil.rmtree(self, ignore_errors=True)
        else:
            self.unlink(missing_ok=True)

    def free_bytes(self) -> float:
        """Return the room on the disk; the folder that this is in is made where it is missing."""
        self.parent.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.parent).free

    def zarr(self) -> Path:
        """Return the path."""
        return self

    def _built(self, content: bytes | memoryview) -> Path:
        """Return a file beside this one that has the content, on the disk itself; its name ends in `.partial`."""
        building = self.with_name(f".{self.name}.{uuid.uuid4().hex}.partial")
        try:
            file = building.open("xb")
        except FileNotFoundError:
            self.parent.mkdir(parents=True, exist_ok=True)
            file = building.open("xb")
        try:
            with file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            building.unlink(missing_ok=True)
            raise
        return building


def place_of(where: Path | Place) -> Place:
    """Return a path as a place, a place as it is."""
    return DiskPlace(where) if isinstance(where, Path) and not isinstance(where, DiskPlace) else where
