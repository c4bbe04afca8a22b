"""Tell whether a database has changed, in a few microseconds and without a transaction."""

import sqlite3
from urllib.parse import quote

from jobs.rows.database import Database
from storage.errors import WarmcastError


class DatabaseVersion:
    """A number that is another one after each commit of another connection; for use by one thread.

    Only SQLite has one (`PRAGMA data_version`, from memory that its processes share). What was read from the database
    after a call of `read` is what a new transaction would read, as long as `read` returns the same number.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None

    def read(self) -> int | None:
        """Return the number; None if there is none, or the database cannot be read at the moment."""
        if self._database.path is None:
            return None
        try:
            self._database.check_installation()
            if self._connection is None:
                uri = f"file:{quote(str(self._database.path))}?mode=ro"
                self._connection = sqlite3.connect(uri, timeout=0, check_same_thread=False, uri=True)
            number: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except (sqlite3.Error, WarmcastError, OSError):
            return None
        return number

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
