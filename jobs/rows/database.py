"""The SQL database of forecasts and workers (SQLite in WAL mode, or PostgreSQL): transactions and migrations."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from storage.errors import DataDirectoryError

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x7761726D
_TIMEOUT_SECONDS = 30  # no lock is held for as long; after this time the database counts as unreachable
_SWITCH_RETRY_SECONDS = 0.02


class Database:
    """Transactions on the database at `url`.

    One object serves all threads of a process; a forked process needs an object of its own. Functions that read or
    change rows take the `Connection` of a transaction that their caller has opened.
    """

    def __init__(self, url: str) -> None:
        self._is_sqlite = make_url(url).get_backend_name() == "sqlite"
        if self._is_sqlite:
            self._engine = create_engine(url, connect_args={"timeout": _TIMEOUT_SECONDS}, pool_size=40)
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        else:
            self._engine = create_engine(url, pool_pre_ping=True, connect_args={"timeout": _TIMEOUT_SECONDS})

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that may write; it is committed at the end of the block, rolled back on an exception."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads; it does not wait for writers."""
        with self._engine.execution_options(warmcast_reads=True).connect() as connection:
            yield connection

    def migrate(self) -> None:
        """Upgrade the schema to the newest revision; several processes may call this at the same time.

        Raises `DataDirectoryError` if the database cannot be reached, or a newer version of Warmcast has changed it.
        """
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        try:
            with self.write() as connection:
                if not self._is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise DataDirectoryError(
                f"The database cannot be used: {error}. A newer version of Warmcast has changed it; use that version."
            ) from error
        except SQLAlchemyError as error:
            raise DataDirectoryError(f"The database cannot be used: {str(error).splitlines()[0]}.") from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins transactions, not the driver
    for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    _switch_to_wal(connection)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch the database to WAL mode; SQLite does not wait for other connections that switch at the same time."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_SWITCH_RETRY_SECONDS)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("warmcast_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
