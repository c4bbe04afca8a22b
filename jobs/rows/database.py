"""The SQL database of forecasts and workers (SQLite in WAL mode, or PostgreSQL): transactions and migrations."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from jobs.rows.advisory_locks import Lock, lock_until_end
from jobs.rows.faults import lacks_tables, translate_fault
from storage.errors import DataDirectoryError, InstallationError, is_disk_full
from storage.reserve import DiskReserve

T = TypeVar("T")

_MIGRATIONS = Path(__file__).parent / "migrations"
_TIMEOUT_SECONDS = 30  # no lock is held for as long; after this time the database counts as unreachable
_SERVER_TIMEOUTS = {
    "lock_timeout": 20.0,
    "statement_timeout": 25.0,
    "idle_in_transaction_session_timeout": 20.0,
    "tcp_user_timeout": 20.0,
}
"""Seconds after which PostgreSQL ends what a process began that it cannot reach any more, and with it the locks."""
_SWITCH_RETRY_SECONDS = 0.02
_READ_IDENTITY = "SELECT identity FROM installation"
_VERIFIED = "warmcast_verified"

_MOVED = "The file of the database was moved, deleted or replaced. Put the same file back, or restart the service."
_REPLACED = "The database has become that of another installation. Put the right one back, and restart the service."


class Database:
    """Transactions on the database at `url`.

    One object serves all threads of a process; a forked process needs an object of its own. Functions that read or
    change rows take the `Connection` of a transaction that their caller has opened.

    An error of a full disk, of the database or of its server, is an `OSError` as for files, see
    `storage.errors.is_disk_full`; an error of a database that cannot work at the moment is an `OperationalError`.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._is_sqlite = parsed.get_backend_name() == "sqlite"
        self.path = Path(parsed.database) if self._is_sqlite and parsed.database else None
        """The file of an SQLite database; None for PostgreSQL."""
        self.reserve = DiskReserve(Path(), 0)
        """The reserve of disk space that `write_at_any_cost` may give up; at first there is none."""
        self._identity: str | None = None
        self._file: tuple[str, tuple[int, int]] | None = None
        self._check_place: Callable[[], None] = lambda: None
        if self._is_sqlite:
            self._engine = create_engine(url, creator=self._open_sqlite, pool_size=40)
            event.listen(self._engine, "connect", _configure_sqlite)
        else:
            self._engine = create_engine(url, pool_pre_ping=True, connect_args={"timeout": _TIMEOUT_SECONDS})
            event.listen(self._engine, "connect", _configure_postgresql)
            event.listen(self._engine, "handle_error", _translate_network_error)
        event.listen(self._engine, "begin", self._begin)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that may write; it is committed at the end of the block, rolled back on an exception.

        Raises `InstallationError` if the database is not, or no longer, that of the identity given to `bind`.
        """
        try:
            with self._connect() as connection, connection.begin():
                yield connection
        except DBAPIError as error:
            raise translate_fault(error) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads; it does not wait for writers. Raises the errors of `write`."""
        try:
            with self._connect(warmcast_reads=True) as connection:
                yield connection
        except DBAPIError as error:
            raise translate_fault(error) from error

    def write_at_any_cost(self, change: Callable[[Connection], T]) -> T:
        """Return the result of `change` in a transaction that may write; on a full disk, give up the reserve for it.

        For changes that free space, or end work. `change` may be called twice.
        """
        try:
            with self.write() as connection:
                return change(connection)
        except OSError as error:
            if not is_disk_full(error) or not self.reserve.give_up():
                raise
        with self.write() as connection:
            return change(connection)

    def migrate(self) -> None:
        """Upgrade the schema to the newest revision; several processes may call this at the same time.

        Raises `DataDirectoryError` if the database cannot be reached, or a newer version of Warmcast has changed it.
        """
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        try:
            with self.write() as connection:
                lock_until_end(connection, Lock.MIGRATION)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise DataDirectoryError(
                f"The database cannot be used: {error}. A newer version of Warmcast has changed it; use that version."
            ) from error
        except SQLAlchemyError as error:
            raise DataDirectoryError(f"The database cannot be used: {str(error).splitlines()[0]}.") from error

    def bind(self, identity: str, check_place: Callable[[], None], reserve: DiskReserve) -> None:
        """From now on, refuse every transaction unless the database is the installation's and `check_place` returns.

        An SQLite database must also remain the same file, and is not created any more if it is missing. `reserve` is
        that of the data folder.
        """
        self._engine.dispose()
        self._file = None if self.path is None else (str(self.path), file_id(str(self.path)))
        self._identity, self._check_place, self.reserve = identity, check_place, reserve

    def check_installation(self) -> None:
        """Raise `InstallationError` if the file of the database is another one or gone, or `check_place` raises it.

        Takes a few microseconds; every transaction calls it, and readers without a transaction must.
        """
        if self._file is not None and file_id(self._file[0]) != self._file[1]:
            raise InstallationError(_MOVED)
        self._check_place()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _connect(self, **options: bool) -> Connection:
        """Return a connection; the driver's own errors of the network, such as timeouts, are `OperationalError`s."""
        try:
            return self._engine.execution_options(**options).connect()
        except OSError as error:
            raise OperationalError("connect", None, error) from error

    def _open_sqlite(self) -> sqlite3.Connection:
        mode = "rwc" if self._identity is None else "rw"
        uri = f"file:{quote(str(self.path))}?mode={mode}"
        return sqlite3.connect(uri, timeout=_TIMEOUT_SECONDS, check_same_thread=False, uri=True)

    def _begin(self, connection: Connection) -> None:
        """Begin the transaction of a connection (SQLite), and check that the database is the installation's."""
        if self._identity is not None:
            self.check_installation()
        if self._is_sqlite:
            reads = connection.get_execution_options().get("warmcast_reads", False)
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
        if self._identity is not None and not connection.info.get(_VERIFIED):
            if self._read_identity(connection) != self._identity:
                raise InstallationError(_REPLACED)
            connection.info[_VERIFIED] = not self._is_sqlite  # a file can be overwritten under an open connection

    def _read_identity(self, connection: Connection) -> str | None:
        """Return the identity in the database, or None if there is none."""
        try:
            if self._is_sqlite:  # without SQLAlchemy, whose statements take ten times as long
                driver: Any = connection.connection.driver_connection
                row = driver.execute(_READ_IDENTITY).fetchone()
            else:
                row = connection.exec_driver_sql(_READ_IDENTITY).one_or_none()
        except (DBAPIError, sqlite3.Error) as error:
            if lacks_tables(error):
                raise InstallationError(_REPLACED) from error
            raise error if isinstance(error, DBAPIError) else OperationalError(_READ_IDENTITY, None, error) from error
        return None if row is None else row[0]


def file_id(path: str) -> tuple[int, int]:
    """Return device and number of a file, or zeros if it does not exist."""
    try:
        stat = os.stat(path)  # noqa: PTH116  # a `Path` takes three times as long
    except OSError:
        return 0, 0
    return stat.st_dev, stat.st_ino


def _translate_network_error(context: ExceptionContext) -> None:
    """Raise `OperationalError` for an error of the network that the driver does not translate, such as a timeout."""
    if isinstance(context.original_exception, OSError):
        context.is_disconnect = True
        raise OperationalError(context.statement, None, context.original_exception) from context.original_exception


def _configure_postgresql(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for name, seconds in _SERVER_TIMEOUTS.items():
        cursor.execute(f"SET {name} = {round(1000 * seconds)}")
    connection.commit()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `_begin` begins transactions, not the driver
    for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    _switch_to_wal(connection)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch the database to WAL mode; try again for a time if it fails.

    It fails while another connection switches too, for which SQLite does not wait by itself.
    """
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
