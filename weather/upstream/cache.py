"""A folder of fetched analyses with a bound of bytes: files appear whole, and those not used for longest are removed.

Several processes may use it. A file that is damaged or disappears is fetched again.
"""

import os
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.atomic import PARTIAL_SUFFIX, write_bytes
from storage.lock import lock_file
from storage.sums import matches_sum, sum_path, write_sum

_NUM_LOCKS = 64
_ABANDONED_SECONDS = 3600.0
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class AnalysisCache:
    """The cache in a folder, of at most `max_bytes` beside the file that was stored last."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def find(self, group: str, name: str) -> Path | None:
        """Return the path of a file that is there and intact, and mark it as used now; else None."""
        path = self._path(group, name)
        if not matches_sum(path):
            return None
        with suppress(OSError):
            os.utime(path)
        return path

    def store(self, group: str, name: str, content: bytes) -> Path:
        """Write a file whole, remove files beyond the bound, and return the path of the new one."""
        path = self._path(group, name)
        sum_path(path).unlink(missing_ok=True)
        write_bytes(path, content)
        write_sum(path, sum_path(path))
        self._make_space(path)
        return path

    @contextmanager
    def lock(self, group: str, name: str) -> Iterator[None]:
        """Hold a lock while the block fetches a file, so that no other thread or process fetches it too."""
        self._folder.mkdir(parents=True, exist_ok=True)
        number = zlib.crc32(f"{group}/{name}".encode()) % _NUM_LOCKS
        with lock_file(self._folder / f".lock-{number}"):
            yield

    def count_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(size for _, size, _ in self._list_files())

    def _path(self, group: str, name: str) -> Path:
        assert _NAME.fullmatch(group)
        assert _NAME.fullmatch(name)
        return self._folder / group / name

    def _make_space(self, kept: Path) -> None:
        with lock_file(self._folder / ".lock"):
            files = sorted(self._list_files())
            used = sum(size for _, size, _ in files)
            for _, size, path in files:
                if used <= self._max_bytes:
                    break
                if path != kept:
                    sum_path(path).unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
                    used -= size
        for folder in self._folder.iterdir():
            if folder.is_dir() and not any(folder.iterdir()):
                with suppress(OSError):
                    folder.rmdir()

    def _list_files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield time of use, size and path of each file; remove temporary ones that killed processes left."""
        if not self._folder.is_dir():
            return
        for path in self._folder.glob("*/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                if path.name.endswith(PARTIAL_SUFFIX):
                    if time.time() - status.st_mtime > _ABANDONED_SECONDS:
                        path.unlink(missing_ok=True)
                elif not path.name.endswith(".crc32c"):
                    yield status.st_mtime, status.st_size, path
