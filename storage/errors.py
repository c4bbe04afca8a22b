"""The root of every error that Warmcast raises on purpose, and the errors of settings and storage.

WarmcastError
├── ConfigurationError  an option, a setting or a configuration value is not possible
├── DataDirectoryError  the data directory is in use, or cannot be used
└── …                   the subclasses in `weather.errors`, `jobs.errors`, `models.errors` and `service.problems`
"""

from typing import ClassVar


class WarmcastError(Exception):
    """Warmcast cannot use its input."""

    exit_code: ClassVar[int] = 2
    """Exit code of a command that ends with this error; the command line recognises errors of Warmcast by it."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class ConfigurationError(WarmcastError):
    """An option is not possible."""


class DataDirectoryError(WarmcastError):
    """The data directory cannot be used."""
