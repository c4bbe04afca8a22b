"""A folder whose files are checked each time they are read."""

from dataclasses import dataclass
from typing import Self

from storage.paths import FileStat, StoragePath
from weather.stores.checks import Files, check_content, damage_of


@dataclass(frozen=True)
class CheckedPath:
    """A file or a folder of a forecast that is only read; every read file has to be as `files` expects it.

    `name` is that of `path` in the folder of the forecast. Files that are not expected are read unchecked; one that is
    expected, but missing or different, raises `DamagedError`.
    """

    path: StoragePath
    relative: str
    files: Files

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    def __truediv__(self, name: str) -> Self:
        return type(self)(self.path / name, f"{self.relative}/{name}".lstrip("/"), self.files)

    def __str__(self) -> str:
        return self.relative

    def exists(self) -> bool:
        """Return whether a file or a folder exists here."""
        return self.path.exists()

    def file_stat(self) -> FileStat | None:
        """Return size and entity tag of the file, or None if there is none."""
        return self.path.file_stat()

    def read_bytes(self) -> bytes:
        """Return the content of the file; raises `FileNotFoundError` if it does not exist and is not expected."""
        if self.relative not in self.files:
            return self.path.read_bytes()
        with damage_of(self.relative):
            content = self.path.read_bytes()
        check_content(self.relative, [content], self.files[self.relative])
        return content
