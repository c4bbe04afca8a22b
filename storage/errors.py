"""The root of every error that Warmcast raises on purpose, and the errors of settings and storage.

WarmcastError
├── ConfigurationError  an option, a setting or a configuration value is not possible
├── DataDirectoryError  the data directory is in use, or cannot be used
│   └── InstallationError  the database and the data directory are not those of one installation
└── …                   the subclasses in `weather.errors`, `jobs.errors`, `models.errors` and `service.problems`
"""

import errno
from typing import ClassVar

Location = tuple[int | str, ...]
"""Path of a field: names and indices, from the outermost object inwards."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_disk_full(error: OSError) -> bool:
    """Return whether an error means that a disk, or the caller's share of it, is full."""
    return error.errno in _DISK_FULL


class WarmcastError(Exception):
    """Warmcast cannot use its input."""

    exit_code: ClassVar[int] = 2
    """Exit code of a command that ends with this error; the command line recognises errors of Warmcast by it."""

    def __init__(self, message: str | None = None, location: Location = ()) -> None:
        super().__init__(message or type(self).__doc__)
        self.location = location
        """Path of the wrong field within the object that is checked; empty if the error is about the whole of it."""


class ConfigurationError(WarmcastError):
    """An option is not possible."""


class DataDirectoryError(WarmcastError):
    """The data directory cannot be used."""


class InstallationError(DataDirectoryError):
    """The database and the data directory are not those of one installation."""
