"""What a forecast is told of an error that ended its worker's attempt."""

import errno
from typing import Any

from models.errors import OutOfMemoryError
from storage.errors import WarmcastError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}


def problem_of(error: Exception) -> dict[str, Any]:
    """Return the problem; it is `retryable` where another machine, or this one later, might succeed."""
    if isinstance(error, OutOfMemoryError):
        return _problem("out-of-memory", str(error))
    if isinstance(error, WarmcastError):
        return _problem("forecast-failed", str(error), retryable=False)
    if isinstance(error, OSError) and error.errno in _FULL:
        return _problem("insufficient-storage", f"The disk of the ensemble is full: {error.strerror}.")
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
        return _problem("store-not-writable", f"The ensemble cannot be written: {error.strerror}.")
    return _problem("worker-lost", f"Its worker could not go on: {type(error).__name__}: {error}.")


def _problem(slug: str, detail: str, *, retryable: bool = True) -> dict[str, Any]:
    told = f"{detail} Its complete lead times are kept." if retryable else detail
    return {"type": slug, "detail": told, "retryable": retryable}
