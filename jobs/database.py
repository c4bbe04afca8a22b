"""The one SQL database: SQLite in WAL mode, or PostgreSQL; transactions and the schema's version."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from storage.errors import DataDirectoryError

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x7761726D
_ANSWER_WITHIN_S = 30  # beyond it the database counts as away: no lock is held that long


class Database:
    """Transactions on the database at `url`; one object serves all threads of a process, and none of its forks."""

    def __init__(self, url: str) -> None:
        self._is_sqlite = make_url(url).get_backend_name() == "sqlite"
        if self._is_sqlite:
            self._engine = create_engine(url, connect_args={"timeout": _ANSWER_WITHIN_S}, pool_size=40)
            event.listen(self._engine, "connect", _on_connect)
            event.listen(self._engine, "begin", _on_begin)
        else:
            self._engine = create_engine(url, pool_pre_ping=True, connect_args={"timeout": _ANSWER_WITHIN_S})

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that may write; it commits at the end, or nothing of it happened."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads, and waits for no writer."""
        with self._engine.execution_options(warmcast_reads=True).connect() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the schema to this version; several processes may do so at once.

        Raises `DataDirectoryError` where the database cannot be reached.
        """
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        try:
            with self.write() as connection:
                if not self._is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise DataDirectoryError(f"The database cannot be used: {str(error).splitlines()[0]}.") from error

    def close(self) -> None:
        """Close what is open."""
        self._engine.dispose()


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_on_begin` says, not where the driver guesses
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get("warmcast_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
