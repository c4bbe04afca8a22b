"""What an error of the database driver means: a full disk, a database that cannot work at the moment, or a fault."""

import errno
import os
import sqlite3
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLSTATE_DISK_FULL = "53100"
_UNDEFINED_TABLE = "42P01"
_UNAVAILABLE_CLASSES = ("08", "25", "40", "53", "55", "57", "58", "XX")
"""SQLSTATE classes of errors that are not the statement's: connection, read-only server, conflict, resources, lock,
operator, system, internal."""


def translate_fault(error: DBAPIError) -> Exception:
    """Return `OSError` (no space) for a full disk, `OperationalError` for a database that cannot work, else the error.

    Drivers report both in many ways: that of PostgreSQL has one class for all errors of the server.
    """
    if is_disk_full(error):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the database")
    if not isinstance(error, OperationalError) and _is_unavailable(error):
        return OperationalError(error.statement, error.params, error.orig or error)
    return error


def is_disk_full(error: DBAPIError) -> bool:
    """Return whether the database, or the server of it, has no space left."""
    if isinstance(error.orig, sqlite3.Error):
        # a quota that is used up is an error of the write, which SQLite does not distinguish further
        return _sqlite_code(error.orig) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
    return _sqlstate(error) == _SQLSTATE_DISK_FULL


def lacks_tables(error: DBAPIError | sqlite3.Error) -> bool:
    """Return whether a database has no such table, or is no database at all."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _sqlite_code(cause) in {sqlite3.SQLITE_ERROR, *_CODES}
    return isinstance(error, DBAPIError) and _sqlstate(error) == _UNDEFINED_TABLE


def _is_unavailable(error: DBAPIError) -> bool:
    if isinstance(error, InterfaceError):  # the connection
        return True
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error.orig) & 0xFF in _CODES
    state = _sqlstate(error)
    return state is not None and state.startswith(_UNAVAILABLE_CLASSES)


def _sqlite_code(error: sqlite3.Error) -> int:
    """Return the extended code of an error, 0 for one of the driver alone, as of a closed connection."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK))


def _sqlstate(error: DBAPIError) -> str | None:
    """Return the SQLSTATE of an error of PostgreSQL, which pg8000 gives as the field C of a dictionary."""
    arguments: tuple[Any, ...] = error.orig.args if error.orig is not None else ()
    return arguments[0].get("C") if arguments and isinstance(arguments[0], dict) else None
