"""A reserve of disk space: a preallocated file, which is given up when the disk is full, so that data can be deleted.

Deletions need space too: for the row that says so. Any process may give the reserve up; new work is refused until it is
held again.
"""

import errno
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from storage.atomic import temporary_file

_NOT_SUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}

_log = logging.getLogger(__name__)


class DiskReserve:
    """The reserve of `size_bytes` in a folder; none if that is 0."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._file, self._size_bytes = folder / ".reserve", size_bytes

    @property
    def is_held(self) -> bool:
        """Whether the space of the reserve is allocated, or none is wanted."""
        return not self._size_bytes or self._file.is_file()

    def hold(self) -> bool:
        """Allocate the space if as much again stays free, and return whether it is allocated."""
        if not self.is_held and shutil.disk_usage(self._file.parent).free >= 2 * self._size_bytes:
            try:
                with temporary_file(self._file) as partial:
                    _allocate(partial, self._size_bytes)
                    partial.replace(self._file)
            except OSError as error:
                _log.warning("The reserve of disk space cannot be allocated: %s", error)
        return self.is_held

    def give_up(self) -> bool:
        """Free the space, and return whether it was allocated."""
        try:
            self._file.unlink()
        except OSError:
            return False
        _log.warning("The disk of the data folder is full: its reserve of %d bytes is in use.", self._size_bytes)
        return True

    def has_space(self) -> bool:
        """Return whether the reserve is held, and as much again is free: else no new work should begin."""
        with suppress(FileNotFoundError):  # without the folder, other checks fail
            return self.is_held and shutil.disk_usage(self._file.parent).free >= self._size_bytes
        return True


def _allocate(path: Path, size_bytes: int) -> None:
    """Create a file whose bytes are allocated on the disk; file systems that cannot allocate get them written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
        with os.fdopen(os.dup(descriptor), "wb") as file:
            for begin in range(0, size_bytes, 1 << 20):
                file.write(b"\0" * min(1 << 20, size_bytes - begin))
    finally:
        os.close(descriptor)
