"""The file with the identity of an installation in its data place, and the guard that keeps watching it."""

import json
import time

from jobs.rows.database import file_id
from storage.errors import InstallationError
from storage.paths import DiskPath, StoragePath

IDENTITY_FILE = "installation.json"
"""Name of the file in the data place."""

REMEDY = (
    "Correct WARMCAST_DATA, WARMCAST_STORE or WARMCAST_DATABASE_URL, or mount the missing disk; to use these two "
    "together from now on, such as after a loss, run `warmcast storage adopt`."
)
"""What to do about two sides that are not of one installation."""

_PLACE_CHANGED = (
    "The place of the forecasts is not that of this service any more: it was unmounted, moved or replaced. "
    "Mount it again, or restart the service."
)
_REMOTE_CHECK_SECONDS = 10.0


def identity_content(identity: str) -> bytes:
    """Return the content of the file."""
    return (json.dumps({"identity": identity}) + "\n").encode()


def read_identity(data: StoragePath) -> str | None:
    """Return the identity in a data place, or None if it has none; raises `InstallationError` for a damaged file."""
    file = data / IDENTITY_FILE
    try:
        found = json.loads(file.read_bytes())["identity"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InstallationError(f"`{file}` is damaged. {REMEDY}") from error
    return str(found)


class PlaceGuard:
    """Checks of a process whether the data place is still the one of an identity."""

    def __init__(self, data: StoragePath, identity: str) -> None:
        self._data, self._identity = data, identity
        self._file = str(data / IDENTITY_FILE) if isinstance(data, DiskPath) else None
        self._is_same, self._next = True, 0.0
        self._known: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise `InstallationError` if the place has another identity or none.

        On a disk this takes microseconds, and notices a change at once; in object storage, within 10 s. Storage that is
        not reached has not changed.
        """
        if self._is_due():
            try:
                self._is_same = read_identity(self._data) == self._identity
            except ConnectionError:
                return
            except (OSError, InstallationError):
                self._is_same = False
        if not self._is_same:
            raise InstallationError(_PLACE_CHANGED)

    def _is_due(self) -> bool:
        """Return whether the identity must be read again: the file is another one, or some time has passed."""
        if self._file is not None:
            found = file_id(self._file)
            changed, self._known = found != self._known, found
            return changed or not self._is_same
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + _REMOTE_CHECK_SECONDS
        return True
